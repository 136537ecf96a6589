# SPDX-License-Identifier: Apache-2.0
# One Makefile for everything; `make help` lists the targets. Sources are found
# by folder: a new .c file needs no change here.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
comma := ,
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $@)

ifeq ($(origin CC),default)
CC := gcc
endif
B       := build$(if $(SAN),/san)
PREFIX  ?= /usr
DESTDIR ?=
TIME    ?= 60

# Missing Debian packages are installed here (as root), or named with the apt line.
NEEDS_DEPS := $(filter-out help clean format,$(or $(MAKECMDGOALS),all))
ifneq ($(NEEDS_DEPS),)
ifneq ($(shell images/install-deps >&2 && echo ok),ok)
$(error packages are missing; the lines above name them)
endif
endif

PKGS := jansson libcrypto libarchive libelf libbpf capstone sqlite3 libseccomp libvirt \
	libvirt-qemu liblz4 libzstd liblzma zlib smartcols libcyaml yaml-0.1 libical \
	tss2-esys tss2-mu tss2-tctildr libmicrohttpd
SAN_FLAGS := -fsanitize=address$(comma)undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CPPFLAGS += -I. -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS))
CFLAGS   ?= -O2 -g
WARN     := -Wall -Wextra -Wconversion -Wshadow -Wvla -Werror
ALL_CFLAGS  := -std=gnu11 $(WARN) -fno-common -fPIE -fstack-protector-strong $(CFLAGS) \
	$(if $(SAN),$(SAN_FLAGS),-D_FORTIFY_SOURCE=2)
ALL_LDFLAGS := -pie -Wl,--as-needed -Wl,-z,relro,-z,now $(if $(SAN),$(SAN_FLAGS)) $(LDFLAGS)
LIBS     := $(shell pkg-config --libs $(PKGS)) -lpthread

# ---- libraries: one archive a folder, main.c left out; in link order ----
LIB_DIRS := vmm-agent/cli vmm-agent/agent vmm-agent/target vmm-agent/lens vmm-agent/monitor \
	policy attest/witness attest package/build package package/kernel base
srcs      = $(filter-out %/main.c,$(wildcard $(1)/*.c))
archive   = $(B)/lib/$(subst /,_,$(1)).a
ARCHIVES := $(foreach d,$(LIB_DIRS),$(if $(call srcs,$(d)),$(call archive,$(d))))
objs      = $(patsubst %.c,$(B)/obj/%.o,$(1))
pick      = $(filter $(foreach d,$(1),$(call archive,$(d))),$(ARCHIVES))

# ---- programs ----
exopatch_MAIN         := vmm-agent/cli
exopatch_LIBS         := $(LIB_DIRS)
exopatch-monitor_MAIN := vmm-agent/monitor
exopatch-monitor_LIBS := vmm-agent/monitor base
exopatch-lens_MAIN    := vmm-agent/lens
exopatch-lens_LIBS    := vmm-agent/lens package/kernel base
exopatch-build_MAIN   := package/build
exopatch-build_LIBS   := package/build package package/kernel base
exopatch-witness_MAIN := attest/witness
exopatch-witness_LIBS := attest/witness attest base
PROGRAMS := $(foreach p,exopatch exopatch-monitor exopatch-lens exopatch-build exopatch-witness,\
	$(if $(wildcard $($(p)_MAIN)/main.c),$(p)))

# ---- tests: every tests/unit/**/test_*.c and tests/vm/test_*.c is a program ----
UNIT_SRCS := $(wildcard tests/unit/*/test_*.c tests/unit/*/*/test_*.c)
VM_SRCS   := $(wildcard tests/vm/test_*.c)
BENCH_SRCS := $(wildcard tests/bench/bench_*.c)
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
TESTLIB_SRCS := $(wildcard tests/lib/*.c)
UNIT_BINS := $(patsubst %.c,$(B)/%,$(UNIT_SRCS))
VM_BINS   := $(patsubst %.c,$(B)/%,$(VM_SRCS))
BENCH_BINS := $(patsubst %.c,$(B)/%,$(BENCH_SRCS))
REPLAY_BINS := $(patsubst %.c,$(B)/%-replay,$(FUZZ_SRCS))
FUZZ_BINS := $(patsubst %.c,$(B)/%,$(FUZZ_SRCS))
TESTLIB   := $(if $(TESTLIB_SRCS),$(B)/lib/tests_lib.a)

ALL_SRCS := $(sort $(wildcard $(foreach d,$(LIB_DIRS),$(d)/*.c)) $(UNIT_SRCS) $(VM_SRCS) \
	$(BENCH_SRCS) $(FUZZ_SRCS) $(TESTLIB_SRCS) $(wildcard tests/fuzz/*.c))
FORMAT_SRCS := $(shell git ls-files '*.c' '*.h' 2>/dev/null)

.PHONY: all help clean test unit-test vm-test bench demo fuzz format format-check tidy install \
	image images guest bare dev-keys
all: $(PROGRAMS:%=$(B)/%) compile_commands.json

help:
	@printf '%s\n' \
	'make                    build the programs into build/' \
	'make demo               patch a running Debian kernel, end to end, with a transcript' \
	'make test               all tests (make SAN=1 test: with address and UB sanitizers)' \
	'make unit-test          only those that need no guest' \
	'make bench              measure; a table, and build/bench.json' \
	'make fuzz TIME=60       fuzz each parser for that many seconds' \
	'make image KERNEL=pkg   a guest from any Debian kernel package' \
	'make guest              boot that guest to play with' \
	'make dev-keys           a throw-away CA, signers and trust directory in build/dev-keys' \
	'make install DESTDIR=   install programs and documentation' \
	'make format-check tidy  style and static checks'

# ---- rules ----
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

define ARCHIVE_RULE
$(call archive,$(1)): $(call objs,$(call srcs,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call say,AR)
	$(Q)ar rcs $$@ $$^
endef
$(foreach d,$(LIB_DIRS),$(eval $(call ARCHIVE_RULE,$(d))))

define PROGRAM_RULE
$(B)/$(1): $(call objs,$($(1)_MAIN)/main.c) $(call pick,$($(1)_LIBS))
	$$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $$@ $$< -Wl,--start-group \
		$(call pick,$($(1)_LIBS)) -Wl,--end-group $(LIBS)
endef
$(foreach p,$(PROGRAMS),$(eval $(call PROGRAM_RULE,$(p))))

$(TESTLIB): $(call objs,$(TESTLIB_SRCS))
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR)
	$(Q)ar rcs $@ $^

$(UNIT_BINS) $(VM_BINS) $(BENCH_BINS): $(B)/%: $(B)/obj/%.o $(TESTLIB) $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< -Wl,--start-group $(TESTLIB) $(ARCHIVES) \
		-Wl,--end-group $(LIBS) -lcmocka

# Fuzz targets: with libFuzzer for `make fuzz`, with a plain main that replays files for tests.
$(REPLAY_BINS): $(B)/%-replay: $(B)/obj/%.o $(B)/obj/tests/fuzz/replay.o $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(ARCHIVES) \
		-Wl,--end-group $(LIBS)
FUZZ_LIB_SRCS := $(foreach d,$(LIB_DIRS),$(call srcs,$(d)))
FUZZ_OBJS := $(patsubst %.c,$(B)/fuzz-obj/%.o,$(FUZZ_LIB_SRCS))
$(B)/fuzz-obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,FUZZCC)
	$(Q)clang $(CPPFLAGS) -std=gnu11 -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
		-fno-sanitize-recover=all -MMD -MP -c -o $@ $<
$(B)/lib/fuzz.a: $(FUZZ_OBJS)
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR)
	$(Q)ar rcs $@ $^
$(FUZZ_BINS): $(B)/%: $(B)/fuzz-obj/%.o $(B)/lib/fuzz.a
	@mkdir -p $(@D)
	$(call say,FUZZLD)
	$(Q)clang -g -fsanitize=fuzzer,address,undefined -o $@ $< $(B)/lib/fuzz.a $(LIBS)
fuzz: $(FUZZ_BINS)
	tests/fuzz/run $(TIME) $(FUZZ_BINS)

$(B)/compile_commands.json: Makefile $(ALL_SRCS)
	@mkdir -p $(@D)
	@{ sep='['; for f in $(ALL_SRCS); do \
	  printf '%s\n {"directory": "%s", "file": "%s", "command": "%s"}' "$$sep" "$(CURDIR)" $$f \
	  '$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c '$$f; sep=','; done; printf '\n]\n'; } > $@
compile_commands.json: $(B)/compile_commands.json
	@ln -sf $< $@

format:
	@clang-format -i $(FORMAT_SRCS)
format-check:
	@clang-format --dry-run --Werror $(FORMAT_SRCS)
	@echo "format: $(words $(FORMAT_SRCS)) files as they should be"
tidy: compile_commands.json
	@printf '%s\n' $(ALL_SRCS) | xargs -P $$(nproc) -n 4 clang-tidy --quiet -p $(B) 2>&1 | \
		{ grep -v -E '^[0-9]+ warnings? (generated|treated)|^Suppressed|^Use -header' || true; } | \
		tee $(B)/tidy.log; ! grep -q -E 'error:|warning:' $(B)/tidy.log
	@echo "tidy: $(words $(ALL_SRCS)) files clean"

# ---- guests ----
KERNEL ?=
image:
	images/build-image $(KERNEL)
guest: image
	images/run-guest
dev-keys:
	package/dev-keys $(B)/dev-keys

# ---- tests, demo, bench ----
unit-test: all $(UNIT_BINS) $(REPLAY_BINS)
	@BUILD=$(B) tests/run $(UNIT_BINS) $(REPLAY_BINS)
test: all $(UNIT_BINS) $(REPLAY_BINS) $(VM_BINS)
	@BUILD=$(B) tests/run --images $(UNIT_BINS) $(REPLAY_BINS) $(VM_BINS)
vm-test: all $(VM_BINS)
	@BUILD=$(B) tests/run --images $(VM_BINS)
bench: all $(BENCH_BINS)
	@BUILD=$(B) tests/bench/run $(BENCH_BINS)
demo: all
	@BUILD=$(B) images/demo

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/exopatch \
		$(DESTDIR)$(PREFIX)/share/doc/exopatch $(DESTDIR)$(PREFIX)/src/exopatch-shim
	install -m 755 $(B)/exopatch $(B)/exopatch-build $(B)/exopatch-witness \
		$(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(B)/exopatch-monitor $(B)/exopatch-lens \
		$(DESTDIR)$(PREFIX)/libexec/exopatch/
	install -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/exopatch/
	cp -r docs $(DESTDIR)$(PREFIX)/share/doc/exopatch/
	install -d $(DESTDIR)$(PREFIX)/share/doc/exopatch/policy
	cp -r policy/examples policy/schema $(DESTDIR)$(PREFIX)/share/doc/exopatch/policy/
	install -m 644 guest-shim/*.c guest-shim/*.h guest-shim/Kbuild \
		$(DESTDIR)$(PREFIX)/src/exopatch-shim/

clean:
	rm -rf build compile_commands.json

-include $(shell find $(B)/obj $(B)/fuzz-obj -name '*.d' 2>/dev/null)
