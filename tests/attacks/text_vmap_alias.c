// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text through a second, writable mapping of its page. */
#include "attack.h"

ATTACK_TEXT(attack_write, execdomains_proc_show, "text through a vmap alias");
