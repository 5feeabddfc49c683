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
CFLAGS   += -std=gnu11 -Wall -Wextra -Werror -MMD -MP $(SANITIZE)
CPPFLAGS += -D_GNU_SOURCE -DLB_VERSION='"$(VERSION)"' -Iinclude -Iuser -I$(BUILD)
LDLIBS   += -lbpf -lelf -lz -lmnl -lyaml -ljansson

ARCH_INCLUDE := /usr/include/$(shell $(CC) -print-multiarch)
BPF_ARCH     := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
BPF_CFLAGS   := -g -O2 -std=gnu11 -target bpf -mcpu=v3 -Wall -Wextra -Werror -MMD -MP \
		-D__TARGET_ARCH_$(BPF_ARCH) -Iinclude -I$(BUILD) -I$(ARCH_INCLUDE)

CORE     := $(patsubst %.c,$(BUILD)/%.o,$(wildcard user/core/*.c))
LIB      := $(CORE) $(patsubst %.c,$(BUILD)/%.o,$(wildcard user/net/*.c user/datapath/*.c))
CLI      := $(patsubst %.c,$(BUILD)/%.o,$(wildcard user/cli/*.c))
SKELS    := $(patsubst bpf/%.bpf.c,$(BUILD)/%.skel.h,$(wildcard bpf/*.bpf.c))

.PHONY: all help build deps install uninstall clean format lint asan demo test test-full bench mutants
.DELETE_ON_ERROR:
.SECONDARY:

all: build

build: $(BUILD)/meshlb

deps:
	$(Q)scripts/setup.sh build

$(BUILD)/vmlinux.h: scripts/vmlinux.sh
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)scripts/vmlinux.sh $(BPFTOOL) > $@

$(BUILD)/%.bpf.o: bpf/%.bpf.c $(BUILD)/vmlinux.h
	$(say) BPF $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MF $(BUILD)/$*.bpf.d -c $< -o $@
	$(Q)llvm-strip -g $@

$(BUILD)/%.skel.h: $(BUILD)/%.bpf.o
	$(say) SKEL $@
	$(Q)$(BPFTOOL) gen skeleton $< name $(subst .,_,$*)_bpf > $@

$(BUILD)/user/%.o: user/%.c | $(SKELS)
	$(say) CC $@
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(BUILD)/meshlb: $(CLI) $(LIB)
	$(say) LD $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
