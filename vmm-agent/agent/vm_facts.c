// SPDX-License-Identifier: Apache-2.0
/* What this host knows of a VM: from libvirt, QEMU, the guest's memory, the journal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/json.h"
#include "vmm-agent/agent/decide.h"
#include "vmm-agent/agent/gate.h"

static const char *applied_state(enum jstate state)
{
	switch (state) {
	case J_ACTIVE:
		return "active";
	case J_APPLYING:
	case J_REVERTING:
		return "applying";
	case J_REVERTED:
	case J_LOST:
		return "reverted";
	case J_ABORTED:
		break;
	}
	return "failed";
}

static void add_signal(json_t *list, const char *signal, const char *at)
{
	if (at[0])
		json_array_append_new(list, json_pack("{s:s,s:s}", "signal", signal, "at", at));
}

/*
 * Signs of harm while the patch was there. That there are none does not mean that it was watched:
 * that is for whoever watches to say.
 */
static json_t *signals_of(const struct session *s, const struct jrow *r, const char *now)
{
	bool ended = !jrow_live(r);
	json_t *list = json_array();
	struct xerr err = {0};
	char at[32] = "";

	if (s->journal && !journal_first_signal(s->journal, r->vm, "violation", r->created,
						ended ? r->updated : now, at, &err))
		add_signal(list, "violation", at);
	if (r->state == J_LOST)
		add_signal(list, "reboot", r->updated);
	if (r->state == J_ACTIVE && !strcmp(s->vm->state, "guest-panicked"))
		add_signal(list, "panic", now);
	return list;
}

static json_t *row_facts(const struct session *s, const struct jrow *r, const char *now)
{
	json_t *o = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s}", "id", r->patch_id, "payload_sha256",
			      r->payload_sha256, "serial", (json_int_t)r->serial, "security_epoch",
			      (json_int_t)r->security_epoch, "at", r->created, "state",
			      applied_state(r->state));
	json_t *signals = signals_of(s, r, now);

	if (json_array_size(signals))
		json_object_set(o, "signals", signals);
	json_decref(signals);
	return o;
}

/* Taken out again, after it did harm. */
static void add_rolled_back(json_t *list, const struct jrow *r, const json_t *facts)
{
	if (r->state == J_REVERTED && json_object_get(facts, "signals"))
		json_array_append_new(list, json_string(r->payload_sha256));
}

static const char *ram_kind(const struct tgt_info *vm)
{
	for (size_t i = 0; i < vm->nr_regions; i++)
		if (vm->region[i].ram && vm->region[i].backend < 0)
			return "private";
	return "shared";
}

/* When QEMU was started: since then the VM can be reached. */
static char *since(const struct tgt_info *vm, char out[21])
{
	struct timespec now, up;
	int64_t born_s;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &up);
	born_s = (int64_t)vm->start_time / sysconf(_SC_CLK_TCK);
	return json_time((int64_t)now.tv_sec - ((int64_t)up.tv_sec - born_s) - 1, out);
}

static json_t *add_patches(const struct session *s, json_t *rolled_back)
{
	json_t *patches = json_array();
	char now[21];

	json_time((int64_t)time(NULL), now);
	for (size_t i = 0; i < s->nr_rows; i++) {
		json_t *facts;

		if (!strcmp(s->row[i].patch_id, GATE_ROW))
			continue;
		facts = row_facts(s, &s->row[i], now);
		add_rolled_back(rolled_back, &s->row[i], facts);
		json_array_append_new(patches, facts);
	}
	return patches;
}

json_t *decide_vm_facts(const struct session *s, bool home, struct xerr *err)
{
	json_t *rolled_back = json_array(), *metadata = NULL, *o;
	int rc = tgt_metadata(s->tgt, &metadata, err);
	char host[256] = "", born[21];

	if (rc && rc != -XO_EMISSING)
		return NULL;
	if (gethostname(host, sizeof(host) - 1) || !host[0])
		snprintf(host, sizeof(host), "localhost");
	o = json_pack("{s:s,s:s,s:{s:s,s:s,s:s},s:b,s:s,s:b,s:b,s:s,s:o*,s:o}", "name",
		      s->vm->name[0] ? s->vm->name : s->vm_key, "host", host, "kernel", "release",
		      s->kernel.release, "build_id", s->build_id, "arch", s->vm->arch, "guard",
		      s->guarded, "ram", ram_kind(s->vm), "home", home, "confidential", false,
		      "since", since(s->vm, born), "metadata", metadata, "patches",
		      add_patches(s, rolled_back));
	if (json_array_size(rolled_back))
		json_object_set(o, "rolled_back", rolled_back);
	json_decref(rolled_back);
	if (!o)
		xerr_set(err, ENOMEM, "out of memory");
	return o;
}
