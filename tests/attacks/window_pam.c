// SPDX-License-Identifier: GPL-2.0-only
/*
 * The chipset's registers say what is ROM: with RAM in its place a patch's code
 * in the firmware window can be written. 440FX has them at 0x59, Q35 at 0x90.
 */
#include <linux/pci.h>

#include "patch.h"

#define PAM_BYTES     7
#define PAM_440FX     0x59
#define PAM_Q35	      0x90
#define DEVICE_440FX  0x1237
#define PAM_ALL_RAM   0x33
#define PAM_F0000_RAM 0x30

static struct pci_dev *bridge;
static int pam;
static u8 old_pam[PAM_BYTES];
static u8 old[sizeof(attack_fail)];

static void set_rom(bool as_before)
{
	for (int i = 0; i < PAM_BYTES; i++)
		pci_write_config_byte(bridge, pam + i,
				      as_before ? old_pam[i]
				      : i	? PAM_ALL_RAM
						: PAM_F0000_RAM);
}

static int write_home(const void *bytes)
{
	u8 *code = patch_code();
	void *direct;

	if (!code)
		return -ENOENT;
	memcpy(old, code, sizeof(old));
	direct = __va(attack_pa(code));
	attack_edit_entry(direct, _PAGE_RW, 0);
	memcpy(direct, bytes, sizeof(old));
	return 0;
}

static int run(void)
{
	bridge = pci_get_domain_bus_and_slot(0, 0, 0);
	if (!bridge)
		return -ENODEV;
	pam = bridge->device == DEVICE_440FX ? PAM_440FX : PAM_Q35;
	for (int i = 0; i < PAM_BYTES; i++)
		pci_read_config_byte(bridge, pam + i, &old_pam[i]);
	set_rom(false);
	return write_home(attack_fail);
}

static void undo(void)
{
	u8 bytes[sizeof(old)];

	memcpy(bytes, old, sizeof(bytes));
	(void)write_home(bytes);
	set_rom(true);
	pci_dev_put(bridge);
}

ATTACK(run, undo, NULL, "the chipset registers that make the window ROM");
