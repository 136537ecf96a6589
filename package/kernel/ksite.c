// SPDX-License-Identifier: Apache-2.0
#include "package/kernel/kimage.h"

const char *ksite_kind_name(enum ksite_kind k)
{
	switch (k) {
	case KSITE_ALTERNATIVE:
		return "alternative";
	case KSITE_PARAVIRT:
		return "paravirt";
	case KSITE_RETPOLINE:
		return "retpoline";
	case KSITE_RETURN:
		return "return";
	case KSITE_CALL:
		return "call";
	case KSITE_ENDBR:
		return "endbr";
	case KSITE_SMP_LOCK:
		return "smp-lock";
	case KSITE_STATIC_CALL:
		return "static-call";
	case KSITE_JUMP_LABEL:
		return "jump-label";
	case KSITE_FTRACE:
		return "ftrace";
	case KSITE_RUNTIME_CONST:
		return "runtime-const";
	case KSITE_RELOC:
		return "reloc";
	case KSITE_RELOC_INVERSE:
		return "reloc-inverse";
	}
	return "unknown";
}
