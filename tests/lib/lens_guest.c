// SPDX-License-Identifier: Apache-2.0
#include "tests/lib/lens_guest.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* The file that backs @hva in QEMU and the offset there. Return: fd, or -1 if there is none */
static int backing(pid_t pid, uint64_t hva, uint64_t *ret_off)
{
	char path[64], line[512];
	_cleanup_fclose_ FILE *maps = NULL;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		uint64_t start, end, off;
		struct stat st;
		int fd;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64, &start, &end, &off) != 3 ||
		    hva < start || hva >= end)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, pid, start,
			 end);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
			if (fd >= 0)
				close(fd);
			return -1;
		}
		*ret_off = off + (hva - start);
		return fd;
	}
	return -1;
}

static int backend_index(struct lens_vm *vm, int fd)
{
	struct stat a, b;

	for (size_t i = 0; i < vm->nr_backends; i++) {
		if (!fstat(fd, &a) && !fstat(vm->backend_fd[i], &b) && a.st_dev == b.st_dev &&
		    a.st_ino == b.st_ino) {
			close(fd);
			return (int)i;
		}
	}
	if (vm->nr_backends == LENS_MAX_BACKENDS) {
		close(fd);
		return -1;
	}
	vm->backend_fd[vm->nr_backends] = fd;
	return (int)vm->nr_backends++;
}

static int add_region(struct guest *g, struct lens_vm *vm, uint64_t start, uint64_t end, bool rom)
{
	_cleanup_free_ char *text = NULL;
	char command[64];
	uint64_t hva, off;
	int fd, index;

	snprintf(command, sizeof(command), "gpa2hva 0x%" PRIx64, start);
	text = guest_hmp(g, command);
	if (!text || !strstr(text, " is 0x") ||
	    sscanf(strstr(text, " is 0x") + 4, "%" SCNx64, &hva) != 1)
		return 0;
	fd = backing(guest_pid(g), hva, &off);
	if (fd < 0)
		return 0;
	index = backend_index(vm, fd);
	if (index < 0 || vm->nr_regions == LENS_MAX_REGIONS)
		return -1;
	vm->region[vm->nr_regions++] = (struct lens_region){.gpa = {start},
							    .len_bytes = end - start + 1,
							    .backend = (uint32_t)index,
							    .backend_off = off,
							    .rom = rom};
	return 0;
}

static uint64_t after(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	uint64_t v = 0;

	if (at)
		(void)sscanf(at + strlen(key), "%" SCNx64, &v);
	return v;
}

int lens_guest_vm(struct guest *g, struct lens_vm *ret)
{
	_cleanup_free_ char *tree = guest_hmp(g, "info mtree -f");
	_cleanup_free_ char *regs = guest_hmp(g, "info registers -a");
	struct lens_vm vm = {0};
	char *line, *save = NULL;

	if (!tree || !regs || !strstr(tree, "AS \"memory\""))
		return -1;
	for (char *cpu = strstr(regs, "CPU#"); cpu && vm.nr_vcpus < LENS_MAX_VCPUS;
	     cpu = strstr(cpu + 1, "CPU#"))
		vm.vcpu[vm.nr_vcpus++] = (struct lens_vcpu_hint){.cr0 = after(cpu, "CR0="),
								 .cr3 = after(cpu, "CR3="),
								 .cr4 = after(cpu, "CR4="),
								 .efer = after(cpu, "EFER=")};
	line = strstr(tree, "AS \"memory\"");
	for (line = strtok_r(line, "\n", &save); line && *line != '\r';
	     line = strtok_r(NULL, "\n", &save)) {
		uint64_t start, end;
		char kind[8];

		if (strstr(line, "FlatView"))
			break;
		if (sscanf(line, " %" SCNx64 "-%" SCNx64 " (prio %*d, %7[a-z])", &start, &end,
			   kind) != 3)
			continue;
		if ((!strcmp(kind, "ram") || !strcmp(kind, "rom")) &&
		    add_region(g, &vm, start, end, kind[1] == 'o')) {
			lens_guest_vm_close(&vm);
			return -1;
		}
	}
	*ret = vm;
	return 0;
}

void lens_guest_vm_close(struct lens_vm *vm)
{
	for (size_t i = 0; i < vm->nr_backends; i++)
		close(vm->backend_fd[i]);
	vm->nr_backends = 0;
}

size_t lens_guest_regs(struct guest *g, struct lens_check_regs ret[LENS_MAX_VCPUS])
{
	_cleanup_free_ char *regs = guest_hmp(g, "info registers -a");
	size_t nr = 0;

	for (char *cpu = regs ? strstr(regs, "CPU#") : NULL; cpu && nr < LENS_MAX_VCPUS;
	     cpu = strstr(cpu + 1, "CPU#"))
		ret[nr++] = (struct lens_check_regs){.rip = after(cpu, "RIP="),
						     .rsp = after(cpu, "RSP="),
						     .cr3 = after(cpu, "CR3="),
						     .cpl = (uint8_t)after(cpu, "CPL=")};
	return nr;
}
