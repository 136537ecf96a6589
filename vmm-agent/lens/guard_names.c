// SPDX-License-Identifier: Apache-2.0
#include "vmm-agent/lens/guard.h"

const char *lens_area_name(enum lens_area_kind k)
{
	switch (k) {
	case LENS_AREA_TEXT:
		return "text";
	case LENS_AREA_RODATA:
		return "rodata";
	case LENS_AREA_RO_AFTER_INIT:
		return "ro-after-init";
	case LENS_AREA_IDT:
		return "IDT";
	case LENS_AREA_GDT:
		return "GDT";
	case LENS_AREA_MODULE_TEXT:
		return "module text";
	case LENS_AREA_MODULE_RODATA:
		return "module rodata";
	case LENS_AREA_HOME:
		return "home of a patch";
	}
	return "unknown";
}

const char *lens_write_kind_name(enum lens_write_kind k)
{
	switch (k) {
	case LENS_WRITE_JUMP_LABEL:
		return "jump label";
	case LENS_WRITE_STATIC_CALL:
		return "static call";
	case LENS_WRITE_FTRACE:
		return "ftrace";
	case LENS_WRITE_KPROBE:
		return "kprobe";
	case LENS_WRITE_MODULE:
		return "module";
	case LENS_WRITE_DESCRIPTOR:
		return "descriptor";
	case LENS_WRITE_LOCK:
		return "lock prefix";
	case LENS_WRITE_OTHER:
		return "other";
	}
	return "unknown";
}

const char *lens_owner_name(enum lens_owner o)
{
	switch (o) {
	case LENS_OWNER_UNKNOWN:
		return "unknown";
	case LENS_OWNER_BPF:
		return "BPF";
	case LENS_OWNER_BPF_PACK:
		return "memory for BPF";
	case LENS_OWNER_FTRACE:
		return "ftrace";
	case LENS_OWNER_KPROBE:
		return "kprobes";
	case LENS_OWNER_EFI:
		return "EFI";
	}
	return "unknown";
}
