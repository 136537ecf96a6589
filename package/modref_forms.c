// SPDX-License-Identifier: Apache-2.0
#include "package/modref_forms.h"

#include <string.h>

#include "base/cleanup.h"

#define INT3	   0xcc
#define NOP	   0x90
#define JMP8	   0xeb
#define JMP32	   0xe9
#define CALL32	   0xe8
#define MAX_PREFIX 4
#define THUNK	   "__x86_indirect_thunk_"

/* Length of the no-operation at @p, or 0: prefixes, then 0x90 or the long form with no offset. */
static size_t one_nop(const uint8_t *p, size_t len)
{
	size_t i = 0, more;

	while (i < len && i < MAX_PREFIX && (p[i] == 0x66 || p[i] == 0x2e || p[i] == 0x3e))
		i++;
	if (i < len && p[i] == NOP)
		return i + 1;
	if (len - i < 3 || p[i] != 0x0f || p[i + 1] != 0x1f)
		return 0;
	switch (p[i + 2]) {
	case 0x00:
		more = 0;
		break;
	case 0x40:
		more = 1;
		break;
	case 0x44:
		more = 2;
		break;
	case 0x80:
		more = 4;
		break;
	case 0x84:
		more = 5;
		break;
	default:
		return 0;
	}
	i += 3;
	if (len - i < more)
		return 0;
	for (size_t k = 0; k < more; k++)
		if (p[i + k])
			return 0;
	return i + more;
}

bool modform_nops(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n;

		if (p[i] == INT3) {
			i++;
			continue;
		}
		/* Over a long run the kernel jumps. */
		if (p[i] == JMP8 && len - i >= 2 && (size_t)p[i + 1] + 2 == len - i) {
			i += 2;
			continue;
		}
		n = one_nop(p + i, len - i);
		if (!n)
			return false;
		i += n;
	}
	return true;
}

bool modform_padded(const uint8_t *have, size_t len, const uint8_t *want, size_t want_len)
{
	if (want_len > len)
		return false;
	while (want_len && want[want_len - 1] == NOP)
		want_len--;
	return !memcmp(have, want, want_len) && modform_nops(have + want_len, len - want_len);
}

bool modform_short_jump(const uint8_t *have, size_t len, const uint8_t *want, size_t want_len)
{
	int32_t away;

	if (modform_padded(have, len, want, want_len))
		return true;
	if (want_len != 5 || want[0] != JMP32 || len < 2 || have[0] != JMP8)
		return false;
	memcpy(&away, want + 1, sizeof(away));
	return (int64_t)(int8_t)have[1] == (int64_t)away + 3 && modform_nops(have + 2, len - 2);
}

bool modform_branch(const uint8_t *p, size_t len, uint8_t opcode, uint64_t at, uint64_t *ret)
{
	int32_t away;

	if (len < 5 || p[0] != opcode)
		return false;
	memcpy(&away, p + 1, sizeof(away));
	*ret = at + 5 + (uint64_t)(int64_t)away;
	return true;
}

bool modform_indirect(const uint8_t *have, size_t len, const uint8_t *orig, unsigned int reg)
{
	static const uint8_t lfence[] = {0x0f, 0xae, 0xe8};
	uint8_t modrm;
	size_t i = 0, skip = 0;

	for (int k = 0; k < 2 && *orig == 0x2e; k++) /* CS prefixes */
		orig++;
	if (*orig != CALL32 && *orig != JMP32) {
		/* A condition: the opposite one skips the jump, to the end of the place. */
		if (len < 2 || have[0] != (0x70 | ((orig[1] & 0xf) ^ 1)))
			return false;
		skip = have[1];
		i = 2;
		if (skip > len - i)
			return false;
	}
	modrm = (uint8_t)((*orig == CALL32 ? 0xd0 : 0xe0) | (reg & 7));
	if (len - i >= sizeof(lfence) && !memcmp(have + i, lfence, sizeof(lfence)))
		i += sizeof(lfence);
	while (i < len && (have[i] == 0x2e || have[i] == 0x3e))
		i++;
	if (reg >= 8) {
		if (i >= len || have[i++] != 0x41)
			return false;
	}
	if (len - i < 2 || have[i] != 0xff || have[i + 1] != modrm)
		return false;
	i += 2;
	if (skip && (skip + 2 < i || !modform_nops(have + i, skip + 2 - i)))
		return false;
	return modform_nops(have + i, len - i);
}

int modform_register(const char *thunk)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

	if (strncmp(thunk, THUNK, strlen(THUNK)) != 0)
		return -1;
	for (size_t i = 0; i < XO_ARRAY_SIZE(names); i++)
		if (!strcmp(thunk + strlen(THUNK), names[i]))
			return (int)i;
	return -1;
}

bool modform_endbr(const uint8_t p[4])
{
	/* endbr64; what seals it: gen_endbr_poison(), arch/x86/include/asm/ibt.h, old and new */
	static const uint8_t forms[][4] = {
		{0xf3, 0x0f, 0x1e, 0xfa}, {0x66, 0x0f, 0x1f, 0x00}, {0x0f, 0x1f, 0x40, 0xd6}};

	for (size_t i = 0; i < XO_ARRAY_SIZE(forms); i++)
		if (!memcmp(p, forms[i], 4))
			return true;
	return false;
}

bool modform_plain_return(const uint8_t p[5])
{
	static const uint8_t ret[] = {0xc3, INT3, INT3, INT3, INT3};

	return !memcmp(p, ret, sizeof(ret));
}

bool modform_nop5(const uint8_t p[5])
{
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

	return !memcmp(p, nop5, sizeof(nop5));
}
