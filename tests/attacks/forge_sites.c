// SPDX-License-Identifier: GPL-2.0-only
/*
 * A jump label that its module never had: struct module leads to a table of
 * ours, once the module's text is protected, and a function becomes a jump.
 */
#include <linux/delay.h>
#include <linux/jump_label.h>

#include "attack.h"

#define PROTECTED_MS 2500 /* it has been looked at by then */
#define ENDBR_BYTES  4

int attack_nothing(void);
int attack_something(void);
asm(".pushsection .text, \"ax\"\n"
    ".type attack_nothing, @function\n"
    "attack_nothing:\n"
    "	endbr64\n"
    "	.byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"
    "	xor %eax, %eax\n" ASM_RET ".size attack_nothing, . - attack_nothing\n"
    ".type attack_something, @function\n"
    "attack_something:\n"
    "	endbr64\n"
    "	mov $4919, %eax\n" ASM_RET ".size attack_something, . - attack_something\n"
    ".popsection\n");

static const u8 nop5[5] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
static struct jump_entry forged;
static struct jump_entry *old_entries;
static unsigned int old_nr;

static void put_table(unsigned long at, unsigned long to)
{
	forged.code = (s32)(at - (unsigned long)&forged.code);
	forged.target = (s32)(to - (unsigned long)&forged.target);
	old_entries = THIS_MODULE->jump_entries;
	old_nr = THIS_MODULE->num_jump_entries;
	THIS_MODULE->jump_entries = &forged;
	THIS_MODULE->num_jump_entries = 1;
}

static void take_table(void)
{
	THIS_MODULE->jump_entries = old_entries;
	THIS_MODULE->num_jump_entries = old_nr;
}

static int write_jump(bool jump)
{
	unsigned long from = (unsigned long)attack_nothing, to = (unsigned long)attack_something;
	u8 bytes[5] = {0xe9}, *at;
	s32 away;
	int r;

	OPTIMIZER_HIDE_VAR(from); /* or objtool sees pointers into a function */
	OPTIMIZER_HIDE_VAR(to);
	at = (u8 *)from + ENDBR_BYTES;
	away = (s32)(to - (unsigned long)(at + sizeof(bytes)));
	memcpy(bytes + 1, &away, sizeof(away));
	put_table((unsigned long)at, to);
	r = attack_poke(at, jump ? bytes : nop5);
	take_table();
	return r;
}

static int run(void)
{
	msleep(PROTECTED_MS);
	return write_jump(true);
}

static void undo(void)
{
	write_jump(false);
}

static int probe(void)
{
	return attack_nothing();
}

ATTACK(run, undo, probe, "a forged jump label of a module");
