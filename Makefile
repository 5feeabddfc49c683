# meshlb - build, install and check. `make help` lists the targets; V=1 shows the commands.

PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
VERSION := 0.1.0

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
MAKEFLAGS += --no-print-directory
say = @printf '  %-8s %s\n'
endif

CFLAGS   ?= -O2 -g
CFLAGS   += -std=gnu11 -Wall -Wextra -Werror -MMD -MP
CPPFLAGS += -D_GNU_SOURCE -DLB_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD)
LDLIBS   += -lbpf -lelf -lz -lmnl -lkmod -lyaml -ljansson -lnftables -lnftnl -lnetfilter_conntrack
ASAN     := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all

ARCH_INCLUDE := /usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)
BPF_ARCH     := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
BPF_CFLAGS   := -g -O2 -std=gnu11 -target bpf -mcpu=v3 -Wall -Wextra -Werror -MMD -MP \
		-D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -Ibpf -I$(BUILD) -I$(ARCH_INCLUDE)

# Everything but main.c is in libmeshlb.a, which the tests link too; once plain, once sanitized.
MAIN     := user/cli/main.c
SRC      := $(filter-out $(MAIN),$(wildcard user/*/*.c))
SKELS    := $(patsubst bpf/%.bpf.c,$(BUILD)/%.skel.h,$(wildcard bpf/*.bpf.c))

# Of a tests/ folder: helpers that all its programs link, its programs, its BPF sources.
test_lib   = $(patsubst %.c,$1/%.o,$(filter-out %.bpf.c tests/$2/test_%.c,$(wildcard tests/$2/*.c)))
test_progs = $(patsubst %.c,$(BUILD)/%,$(wildcard tests/$1/test_*.c))
UNIT       := $(call test_progs,unit)
PROG       := $(call test_progs,prog)
FUZZ       := $(patsubst tests/unit/fuzz_%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/unit/fuzz_*.c))
E2E        := $(BUILD)/tests/e2e/flood
BENCH      := $(if $(wildcard tests/bench/*.c),$(BUILD)/tests/bench/bench)
TEST_C     := $(filter-out %.bpf.c,$(wildcard tests/*/*.c))
TEST_BPF   := $(patsubst %.bpf.c,$(BUILD)/%.bpf.o,$(wildcard tests/*/*.bpf.c))
TEST_SKELS := $(TEST_BPF:.bpf.o=.skel.h)

C_FILES  := $(wildcard include/*.h bpf/*.[ch] user/*/*.[ch] tests/*/*.[ch])
SH_FILES := $(wildcard scripts/*.sh scripts/guest-run .ci/run tests/run tests/*/run tests/*/*.sh)
JOBS     ?= $(shell nproc)
submake   = $(MAKE) $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: all help build deps install uninstall clean format lint asan test-build bench-build \
	demo test test-full bench mutants
.DELETE_ON_ERROR:
.SECONDARY:

all: build

build: $(BUILD)/meshlb ## the program (the default)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo 'Variables: V=1 PREFIX DESTDIR BUILD CC CLANG; see README.md.'

deps: ## install the Debian packages for building (as root)
	$(Q)scripts/setup.sh build

# ------------------------------------------------------------------------------ the program

$(BUILD)/vmlinux.h: scripts/vmlinux.sh
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)scripts/vmlinux.sh $(BPFTOOL) > $@

define bpf_rule
$(BUILD)/$1%.bpf.o: $2%.bpf.c $(BUILD)/vmlinux.h Makefile
	$$(say) BPF $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CLANG) $$(BPF_CFLAGS) -MF $$(@:.o=.d) -c $$< -o $$@
	$$(Q)llvm-strip -g $$@
endef
$(eval $(call bpf_rule,,bpf/))
$(eval $(call bpf_rule,tests/,tests/))

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(say) SKEL $@
	$(Q){ echo '/* NOLINTBEGIN */' && $(BPFTOOL) gen skeleton $< name $(notdir $*)_bpf && \
		echo '/* NOLINTEND */'; } > $@

# $1: the folder of the objects and the library, $2: more flags.
define c_rules
$(patsubst %.c,$1/%.o,$(TEST_C)): | $(TEST_SKELS)

$1/%.o: %.c Makefile | $(SKELS)
	$$(say) CC $$@
	$$(Q)mkdir -p $$(@D)
	$$(Q)$$(CC) $$(CPPFLAGS) -I$$(<D) -I$(BUILD)/$$(<D) $$(CFLAGS) $2 -c $$< -o $$@

$1/libmeshlb.a: $(patsubst %.c,$1/%.o,$(SRC))
	$$(say) AR $$@
	$$(Q)rm -f $$@
	$$(Q)ar rcs $$@ $$^

$1/meshlb: $1/$(MAIN:.c=.o) $1/libmeshlb.a
	$$(say) LD $$@
	$$(Q)$$(CC) $$(CFLAGS) $2 $$(LDFLAGS) $$^ $$(LDLIBS) -o $$@
endef
$(eval $(call c_rules,$(BUILD)))
$(eval $(call c_rules,$(BUILD)/asan,$(ASAN)))

asan: $(BUILD)/asan/meshlb ## the program with ASan and UBSan, in build/asan

# -------------------------------------------------------------------------------- the tests

$(UNIT): $(BUILD)/%: $(BUILD)/asan/%.o $(call test_lib,$(BUILD)/asan,unit) $(BUILD)/asan/libmeshlb.a
	$(say) LD $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(ASAN) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

# libFuzzer needs its coverage in all that it fuzzes: the sources, not the library.
FUZZED := $(filter-out tests/unit/fuzz_%.c tests/unit/test_%.c,$(wildcard user/core/*.c tests/unit/*.c))
$(FUZZ): $(BUILD)/tests/fuzz/%: tests/unit/fuzz_%.c $(FUZZED) $(wildcard user/core/*.h tests/unit/*.h)
	$(say) FUZZ $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined $(CPPFLAGS) -Itests/unit \
		$(filter %.c,$^) -lyaml -o $@

$(PROG): $(BUILD)/%: $(BUILD)/%.o $(call test_lib,$(BUILD),prog) $(BUILD)/libmeshlb.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -lpthread -o $@

$(BENCH): $(call test_lib,$(BUILD),bench) $(BUILD)/libmeshlb.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -lpthread -o $@

$(E2E): $(BUILD)/%: $(BUILD)/%.o
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# The same program with a BPF object that is another one, as after an upgrade: for tests. (libbpf
# passes over sections of that name.)
NEXT := $(BUILD)/next/meshlb
$(BUILD)/next/lb.bpf.o: $(BUILD)/lb.bpf.o
	$(say) BPF $@
	$(Q)mkdir -p $(@D)
	$(Q)echo next > $(@D)/name
	$(Q)llvm-objcopy --add-section .debug_next=$(@D)/name $< $@

$(BUILD)/next/ebpf_load.o: user/datapath/ebpf_load.c $(BUILD)/next/lb.skel.h
	$(say) CC $@
	$(Q)$(CC) -I$(@D) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

# What the first object defines is not taken out of the library.
$(NEXT): $(BUILD)/next/ebpf_load.o $(BUILD)/$(MAIN:.c=.o) $(BUILD)/libmeshlb.a
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

test-build: build $(UNIT) $(FUZZ) $(PROG) $(E2E) $(TEST_BPF) $(NEXT) ## all that the tests need
bench-build: build $(BENCH)

demo: ## curl through a balancer, two replicas; HOOK=xdp|xdp-generic|tc, DATAPATH=ipvs|nft, GUEST=1: Linux 6.1
	$(Q)GUEST=$(GUEST) scripts/setup.sh demo
	$(Q)$(submake) build
	$(Q)HOOK=$(HOOK) DATAPATH=$(DATAPATH) GUEST=$(GUEST) MESHLB=$(BUILD)/meshlb scripts/demo.sh

test: ## the tests (as root)
	$(Q)scripts/setup.sh test
	$(Q)$(submake) test-build
	$(Q)BUILD=$(BUILD) tests/run

test-full: ## the tests at length, and a fourth of the mutants
	$(Q)scripts/setup.sh test
	$(Q)$(submake) test-build
	$(Q)BUILD=$(BUILD) tests/run --full

bench: ## ns per packet, packets per second, ms of apply, IPVS and others in the guest; QUICK=1: rougher
	$(Q)scripts/setup.sh bench
	$(Q)$(submake) bench-build
	$(Q)BUILD=$(BUILD) QUICK=$(QUICK) tests/bench/run

mutants: ## break the sources one line at a time: each must fail a test
	$(Q)scripts/setup.sh test
	$(Q)tests/mutants/run

# ------------------------------------------------------------------------- install and check

MAN  := $(DESTDIR)$(PREFIX)/share/man
COMP := $(DESTDIR)$(PREFIX)/share/bash-completion/completions

install: build ## to PREFIX (/usr/local), under DESTDIR
	$(Q)install -D -m 755 $(BUILD)/meshlb $(DESTDIR)$(PREFIX)/sbin/meshlb
	$(Q)install -D -m 644 docs/meshlb.8 $(MAN)/man8/meshlb.8
	$(Q)install -D -m 644 docs/meshlb.yaml.5 $(MAN)/man5/meshlb.yaml.5
	$(Q)install -D -m 644 scripts/meshlb.bash-completion $(COMP)/meshlb

uninstall: ## what install put there
	$(Q)rm -f $(DESTDIR)$(PREFIX)/sbin/meshlb $(MAN)/man8/meshlb.8 $(MAN)/man5/meshlb.yaml.5 \
		$(COMP)/meshlb

format: ## clang-format over all C files
	$(Q)clang-format -i $(C_FILES)

lint: ## clang-format, clang-tidy, cppcheck, shellcheck: any finding fails
	$(Q)scripts/setup.sh lint
	$(Q)$(submake) $(BUILD)/vmlinux.h $(SKELS) $(TEST_SKELS)
	$(Q)BUILD=$(BUILD) CPPFLAGS="$(subst ",\",$(CPPFLAGS))" BPF_CFLAGS="$(BPF_CFLAGS)" \
		scripts/lint.sh $(C_FILES) $(SH_FILES)

clean: ## remove build/
	$(Q)rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
