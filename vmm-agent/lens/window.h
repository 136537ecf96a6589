/* SPDX-License-Identifier: Apache-2.0 */
/* The firmware window: pages of the shadow-ROM range and the fixmap entries that can map them. */
#ifndef EXOPATCH_LENS_WINDOW_H
#define EXOPATCH_LENS_WINDOW_H

#include "vmm-agent/lens/kernel.h"

/** gwindow_page - fill in all but the gpa. Return: 0, -XO_ENOHOME (no such entry), ... */
int gwindow_page(const struct gkernel *k, struct lens_window_page *p,
		 struct xerr *err) XO_MUST_CHECK;

#endif
