# SPDX-License-Identifier: Apache-2.0
# kata-agent and the images it lives in. `make help` lists what can be made.
#
# All output goes below build/. V=1 shows the commands; SAN=1 builds the agent with ASan and UBSan.

SHELL := /bin/bash
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
comma := ,
say = @printf '  %-8s %s\n' $(1) $(2)

CC := gcc
HOST_CC := $(CC)
BUILD := build
VERSION := $(shell cat VERSION)
COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

# --- packages ---------------------------------------------------------------------------------
PKG_BUILD := gcc make git pkg-config libc6-dev linux-libc-dev libmnl-dev libnghttp2-dev libseccomp-dev libcap-dev \
	libprotobuf-c-dev protobuf-c-compiler protobuf-compiler libprotobuf-dev libjson-c-dev
PKG_IMAGE := busybox-static cpio gzip zstd e2fsprogs iptables
PKG_KERNEL := linux-source-6.1 flex bison bc libelf-dev libssl-dev xz-utils lz4 perl kmod
PKG_RUN := qemu-system-x86 python3
PKG_TEST := libcriterion-dev clang clang-format pyflakes3 libclang-rt-14-dev python3-grpcio python3-protobuf python3-hpack mmdebstrap xfsprogs erofs-utils cryptsetup-bin \
	yamllint patchelf lld qemu-user-static dnf createrepo-c rpm crun runc iproute2 fdisk procps strace apparmor \
	golang-go golang-google-grpc-dev golang-github-containerd-ttrpc-dev golang-github-hashicorp-yamux-dev gogoprotobuf

PKG_cross_arm64 := gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm
PKG_cross_ppc64le := gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross qemu-system-ppc
PKG_cross_s390x := gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-system-misc
PKG_debian = $(PKG_BUILD) $(PKG_IMAGE) $(PKG_RUN) kmod $(if $(CROSS),$(PKG_cross_$(ARCH)))
PKG_run := $(PKG_BUILD) $(PKG_IMAGE) $(PKG_KERNEL) $(PKG_RUN)
PKG_deb := $(PKG_BUILD) dpkg-dev
PKG_test := $(PKG_run) dpkg-dev lintian $(PKG_TEST) $(PKG_cross_arm64) $(PKG_cross_ppc64le) $(PKG_cross_s390x)

# --- flags ------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Wshadow -Wundef -Wvla -Wformat=2 -Wconversion -Wsign-conversion -Wcast-qual \
	-Wstrict-prototypes -Wmissing-prototypes -Wimplicit-fallthrough $(if $(CI),-Werror)
INC := -iquote agent -iquote init -isystem $(BUILD)/gen
# The folder's name stays out of the debug information, and so out of the build-id: each clone gives the same bytes.
BASE := -std=gnu11 -Ulinux -D_GNU_SOURCE -MMD -MP -ffile-prefix-map=$(CURDIR)=.
HARDEN := -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 -ftrivial-auto-var-init=zero
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LIBS := -lnghttp2 -lprotobuf-c -lseccomp -lcap
ifeq ($(SAN),1)
AGENT_CFLAGS := -O1 -g $(SANITIZE)
AGENT_LDFLAGS := $(SANITIZE)
OBJ := $(BUILD)/obj-san
AGENT := $(BUILD)/kata-agent-san
else
AGENT_CFLAGS := -Os -g $(HARDEN) -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables
# Relative relocations are packed where the linker can (x86 in Debian 12), and what runs at start stands together (tests/counts/order.py): a third less memory.
STARTUP := agent/startup.ld
RELR := $(if $(filter x86_64,$(shell uname -m)),$(comma)-z$(comma)pack-relative-relocs)
AGENT_LDFLAGS = -static-pie -Wl,--gc-sections,-z,relro,-z,now,-z,noseparate-code$(RELR) \
	-Wl,--no-eh-frame-hdr,-T,$(STARTUP),-Map=$(BUILD)/kata-agent.map
OBJ := $(BUILD)/obj
AGENT := $(BUILD)/kata-agent
endif
CFLAGS = $(BASE) $(WARN) $(INC)
# ARCH=arm64, ppc64le, s390x: the same agent, built with Debian's cross compiler and libraries of that architecture.
ifneq ($(ARCH),)
ifeq ($(filter x86_64 $(shell uname -m),$(ARCH)),)
DEB_arm64 := arm64
DEB_ppc64le := ppc64el
DEB_s390x := s390x
TRIPLE_arm64 := aarch64-linux-gnu
TRIPLE_ppc64le := powerpc64le-linux-gnu
TRIPLE_s390x := s390x-linux-gnu
TRIPLE := $(or $(TRIPLE_$(ARCH)),$(error ARCH=$(ARCH): choose one of x86_64 arm64 ppc64le s390x))
CROSS := -$(ARCH)
CC := $(TRIPLE)-gcc
STRIP := $(TRIPLE)-strip
SYSROOT := $(BUILD)/sysroot$(CROSS)
OBJ := $(BUILD)/obj$(CROSS)
AGENT := $(BUILD)/kata-agent$(CROSS)
RELR :=
INC += -isystem $(SYSROOT)/usr/include -isystem $(SYSROOT)/usr/include/$(TRIPLE)
AGENT_LDFLAGS += -L$(SYSROOT)/usr/lib/$(TRIPLE)
# glibc has no static programs that can be loaded anywhere (rcrt1.o) for the other two, and what it has for the plain ones
# refers to the tables that startup.ld leaves out.
ifneq ($(ARCH),arm64)
STARTUP :=
AGENT_LDFLAGS := -static -Wl,--gc-sections,-z,relro,-z,now -L$(SYSROOT)/usr/lib/$(TRIPLE)
endif
MNL_A := $(wildcard $(SYSROOT)/usr/lib/$(TRIPLE)/libmnl.a)
$(SYSROOT):
	$(call say,FETCH,"$@ (Debian's libraries for $(ARCH))")
	$(Q)tests/cross/sysroot.sh $(DEB_$(ARCH)) $@.new && mv $@.new $@
endif
endif
STRIP ?= strip
# libmnl: Debian has no archive of it. Where none is found, agent/linux/mnl.c stands in for it in static builds.
MNL_A ?= $(firstword $(wildcard $(shell $(CC) -print-file-name=libmnl.a 2>/dev/null) \
	$(shell pkg-config --variable=libdir libmnl 2>/dev/null)/libmnl.a))
# LINK=shared: the same objects, linked with the libraries as a distribution ships them, libmnl and libc among them.
STATIC := $(AGENT)
SHARED := $(AGENT)-shared
SHARED_LDFLAGS := -pie -Wl,--gc-sections,--as-needed,-z,relro,-z,now,-z,noseparate-code
ifeq ($(LINK),shared)
AGENT := $(SHARED)
endif

# --- the agent --------------------------------------------------------------------------------
AGENT_SRC := $(sort $(wildcard agent/*.c agent/*/*.c agent/*/*/*.c init/*.c))
PROTO := $(sort $(wildcard agent/proto/*.proto))
GEN := $(PROTO:agent/proto/%.proto=$(BUILD)/gen/%.pb-c.c) $(BUILD)/gen/google/protobuf/empty.pb-c.c
AGENT_OBJ := $(AGENT_SRC:%.c=$(OBJ)/%.o) $(GEN:$(BUILD)/%.c=$(OBJ)/%.o)

.PHONY: all help agent
agent: $(AGENT)
all: $(AGENT) $(BUILD)/agent-ctl

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make                     build the agent and agent-ctl (make agent ARCH=arm64: cross-built;
##                          LINK=shared: build/kata-agent-shared, against the system's libraries)
## make run [CMD='...']     boot a guest and run a command in a container
##                          (ROOT=initrd|pmem|blk|verity|erofs, TRANSPORT=vsock|serial, PROTOCOL=grpc|ttrpc, ACCEL=tcg|kvm,
##                          KERNEL=own|debian: ours, which takes minutes to build, or Debian's, downloaded)
## make shell               the same with an interactive shell in the container
## make test                every test
## make unit                the tests that take a minute and need no root: those of the C files, of the sources' form
## make check T=PROGRAM     one test and what it needs: T=tests/ns/test_rpc.py, T=tests/unit/test_str.c, several in
##                          quotes; T=tests/ns/test_rpc.py:network only the cases with that word in their names
## make counts              what operations cost in system calls and instructions, against tests/counts/table
## make faults              thousands of lives with one fault each: system calls, allocations, deaths (minutes; root)
## make mutants             puts faults into the source, and looks whether tests fail for them (half an hour; root)
## make soak                100,000 lives of containers on this host, 2,000 in a guest: what is left of them (hours; root)
## make bench               figures of size, memory and time, in build/bench.json
## make images              kernel, initrd, disk image
## make deps                install the Debian packages that all this needs (root)
## make analyze, make fuzz, make format

$(BUILD)/gen/%.pb-c.c $(BUILD)/gen/%.pb-c.h: agent/proto/%.proto
	$(call say,PROTOC,$<)
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=agent/proto --proto_path=/usr/include --c_out=$(BUILD)/gen $<

$(BUILD)/gen/google/protobuf/empty.pb-c.c:
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=/usr/include --c_out=$(BUILD)/gen google/protobuf/empty.proto

# Generated headers must be there before the first object that includes them.
$(OBJ)/%.o: %.c | $(GEN) $(SYSROOT)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(AGENT_CFLAGS) -c -o $@ $<
$(OBJ)/gen/%.o: $(BUILD)/gen/%.c | $(GEN) $(SYSROOT)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(INC) $(AGENT_CFLAGS) -w -c -o $@ $<

# The version is compiled into one object, which a new commit makes anew.
VERSION_TEXT := $(VERSION)$(if $(COMMIT),-$(COMMIT))
$(shell mkdir -p $(BUILD); [ "$$(cat $(BUILD)/version 2>/dev/null)" = "$(VERSION_TEXT)" ] || echo "$(VERSION_TEXT)" >$(BUILD)/version)
$(OBJ)/agent/svc/health.o $(BUILD)/obj-san/agent/svc/health.o: CFLAGS += '-DAGENT_VERSION="$(VERSION_TEXT)"'
$(OBJ)/agent/svc/health.o $(BUILD)/obj-san/agent/svc/health.o: $(BUILD)/version

$(STATIC): $(STARTUP)
$(STATIC): $(if $(MNL_A),$(filter-out %/mnl.o,$(AGENT_OBJ)) $(MNL_A),$(AGENT_OBJ))
	$(call say,LD,$@)
	$(Q)$(CC) $(AGENT_LDFLAGS) -o $@.debug $(filter-out $(STARTUP),$^) $(LIBS)
	$(Q)$(if $(filter 1,$(SAN)),cp $@.debug $@.new,$(STRIP) -o $@.new $@.debug) && mv $@.new $@
$(SHARED): $(filter-out %/mnl.o,$(AGENT_OBJ))
	$(call say,LD,$@)
	$(Q)$(CC) $(SHARED_LDFLAGS) -o $@.debug $^ $(LIBS) -lmnl
	$(Q)$(STRIP) -o $@.new $@.debug && mv $@.new $@

-include $(AGENT_OBJ:.o=.d)

# --- host tools -------------------------------------------------------------------------------
CTL_SRC := $(sort $(wildcard tools/agent-ctl/*.c))
CTL_GEN := $(GEN) $(BUILD)/gen/agent3.pb-c.c
CTL_OBJ := $(CTL_SRC:%.c=$(BUILD)/obj-host/%.o) $(CTL_GEN:$(BUILD)/%.c=$(BUILD)/obj-host/%.o)
HOST_CFLAGS := -O2 -g $(HARDEN)

$(BUILD)/gen/agent3.pb-c.c: tools/agent-ctl/agent3.proto
	@mkdir -p $(@D)
	$(Q)protoc-c --proto_path=tools/agent-ctl --c_out=$(BUILD)/gen $<
$(BUILD)/obj-host/tools/agent-ctl/schema.o $(BUILD)/obj-san/tools/agent-ctl/schema.o: | $(BUILD)/gen/agent3.pb-c.c
.SECONDARY: $(CTL_GEN)

$(BUILD)/obj-host/%.o: %.c | $(GEN)
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(BASE) $(WARN) -isystem $(BUILD)/gen $(HOST_CFLAGS) -c -o $@ $<
$(BUILD)/obj-host/gen/%.o: $(BUILD)/gen/%.c | $(GEN)
	@mkdir -p $(@D)
	$(Q)$(HOST_CC) $(BASE) -isystem $(BUILD)/gen $(HOST_CFLAGS) -w -c -o $@ $<
$(BUILD)/agent-ctl: $(CTL_OBJ)
	$(call say,LD,$@)
	$(Q)$(HOST_CC) -o $@ $(CTL_OBJ) -lnghttp2 -lprotobuf-c -ljson-c
-include $(CTL_OBJ:.o=.d)

# The vsock device in user space, and the guard that ends what a test started.
VSOCK_OBJ := $(patsubst %.c,$(BUILD)/obj-host/%.o,$(sort $(wildcard tools/vhost-user-vsock/*.c)))
$(BUILD)/vhost-user-vsock: $(VSOCK_OBJ)
	$(call say,LD,$@)
	$(Q)$(HOST_CC) -o $@ $(VSOCK_OBJ)
$(BUILD)/vm-guard: $(BUILD)/obj-host/tests/vm/guard/vm-guard.o
	$(call say,LD,$@)
	$(Q)$(HOST_CC) -o $@ $^
-include $(VSOCK_OBJ:.o=.d)
# A guest program and a sanitized device for the tests of the device itself.
$(BUILD)/vsock-guest: tests/vm/guest/vsock-guest.c
	$(call say,CC,$<)
	$(Q)$(HOST_CC) -std=gnu11 -D_GNU_SOURCE -O2 -static -s -o $@ $<
$(BUILD)/kernel-probe: tests/vm/guest/kernel-probe.c
	$(call say,CC,$<)
	$(Q)$(HOST_CC) -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -O2 -static -s -o $@ $<
$(BUILD)/vhost-user-vsock-san: $(wildcard tools/vhost-user-vsock/*.[ch])
	$(call say,CC-SAN,$@)
	$(Q)$(HOST_CC) -std=gnu11 -D_GNU_SOURCE -O1 -g $(SANITIZE) -o $@ $(filter %.c,$^)
VM_TOOLS := $(BUILD)/agent-ctl $(BUILD)/vhost-user-vsock $(BUILD)/vm-guard

# --- packages, images -------------------------------------------------------------------------
# Installs what is missing, as root or through sudo; without either it says what to do.
.PHONY: deps deps-run deps-build deps-debian deps-deb deps-test
deps: deps-test
deps-build deps-debian deps-run deps-deb deps-test: deps-%:
	@tests/deps.sh $(PKG_$*)

OWN_KERNEL := $(BUILD)/kata-vmlinuz
INITRD := $(BUILD)/kata-containers-initrd.img
ROOTFS := $(BUILD)/rootfs

KERNEL_SRC := kernel-config/build-kernel.sh $(shell find kernel-config/fragments -type f 2>/dev/null)
$(OWN_KERNEL): $(KERNEL_SRC)
	kernel-config/build-kernel.sh build
	@touch $@

ROOTFS_SRC := $(shell find rootfs-builder -maxdepth 1 -name '*.sh') $(shell find rootfs-builder/busybox \
	rootfs-builder/scripts -type f 2>/dev/null)
# What hosts of 3.x ask for beyond the agent: by default what this machine has. docs/images.md has what each costs, and
# who can do without (none).
INITRD_EXTRAS ?=
IMAGE_EXTRAS ?= mkfs iptables
$(ROOTFS).stamp: KATA_EXTRAS = $(INITRD_EXTRAS)
$(ROOTFS)-image.stamp: KATA_EXTRAS = $(IMAGE_EXTRAS)
$(ROOTFS).stamp $(ROOTFS)-image.stamp: %.stamp: $(BUILD)/kata-agent $(ROOTFS_SRC)
	$(call say,ROOTFS,$*)
	$(Q)AGENT_INIT=yes $(if $(KATA_EXTRAS),KATA_EXTRAS='$(KATA_EXTRAS)') AGENT_SOURCE_BIN=$(abspath $(BUILD)/kata-agent) \
		rootfs-builder/rootfs.sh -o $(VERSION) -r $* busybox >$*.log 2>&1 || { cat $*.log; exit 1; }
	@touch $@
$(INITRD): $(ROOTFS).stamp initrd/initrd_builder.sh
	$(call say,INITRD,$@)
	$(Q)initrd/initrd_builder.sh -c zstd -o $@ $(ROOTFS) >$(BUILD)/initrd.log 2>&1 || { cat $(BUILD)/initrd.log; exit 1; }

IMAGE := $(BUILD)/kata-containers.img
$(IMAGE): $(ROOTFS)-image.stamp $(wildcard image-builder/*.sh)
	$(call say,IMAGE,$@)
	$(Q)AGENT_INIT=yes image-builder/image_builder.sh -o $@ $(ROOTFS)-image >$(BUILD)/image.log 2>&1 || { cat $(BUILD)/image.log; exit 1; }

# The same tree measured (a second partition with dm-verity's hashes; their root is in root_hash_verity.txt), and as the
# smallest image, compressed.
VERITY := $(BUILD)/kata-containers-verity.img
EROFS := $(BUILD)/kata-containers-erofs.img
$(VERITY): IMAGE_WAY = BUILD_VARIANT=verity MEASURED_ROOTFS=yes
$(EROFS): IMAGE_WAY = FS_TYPE=erofs EROFS_COMPRESSION=lz4hc IMAGE_SIZE_ALIGNMENT_MB=2
$(VERITY) $(EROFS): $(ROOTFS)-image.stamp $(wildcard image-builder/*.sh)
	$(call say,IMAGE,$@)
	$(Q)$(IMAGE_WAY) AGENT_INIT=yes image-builder/image_builder.sh -o $@ $(ROOTFS)-image >$@.log 2>&1 || { cat $@.log; exit 1; }

.PHONY: kernel initrd image images rootfs list-distros
kernel: $(OWN_KERNEL)
rootfs: $(if $(DISTRO),rootfs-$(DISTRO),$(ROOTFS).stamp)
initrd: $(if $(DISTRO),initrd-$(DISTRO),$(INITRD))
image: $(if $(DISTRO),image-$(DISTRO),$(IMAGE))

## make rootfs-DISTRO, image-DISTRO, initrd-DISTRO   a distribution's (make list-distros), as osbuilder's are called
DISTROS := $(sort $(patsubst rootfs-builder/%/config.sh,%,$(wildcard rootfs-builder/*/config.sh)))
ROOTFS_BUILD_DEST ?= $(BUILD)
IMAGES_BUILD_DEST ?= $(BUILD)
list-distros:
	@printf '%s\n' $(DISTROS)
.PHONY: $(DISTROS:%=rootfs-%) $(DISTROS:%=image-%) $(DISTROS:%=initrd-%)
$(DISTROS:%=rootfs-%): rootfs-%: $(ROOTFS_BUILD_DEST)/.%_rootfs.done
$(DISTROS:%=image-%): image-%: $(IMAGES_BUILD_DEST)/kata-containers-image-%.img
$(DISTROS:%=initrd-%): initrd-%: $(IMAGES_BUILD_DEST)/kata-containers-initrd-%.img
DISTRO_ROOTFS := $(DISTROS:%=$(ROOTFS_BUILD_DEST)/.%_rootfs.done)
.SECONDARY: $(DISTRO_ROOTFS)
$(DISTRO_ROOTFS): $(ROOTFS_BUILD_DEST)/.%_rootfs.done: $(STATIC) $(ROOTFS_SRC) $(wildcard rootfs-builder/*/*.sh)
	AGENT_SOURCE_BIN=$(abspath $(STATIC)) rootfs-builder/rootfs.sh -o $(VERSION_TEXT) -r $(ROOTFS_BUILD_DEST)/$*_rootfs $*
	@touch $@
$(DISTROS:%=$(IMAGES_BUILD_DEST)/kata-containers-image-%.img): $(IMAGES_BUILD_DEST)/kata-containers-image-%.img: \
		$(ROOTFS_BUILD_DEST)/.%_rootfs.done $(wildcard image-builder/*.sh)
	image-builder/image_builder.sh -o $@ $(ROOTFS_BUILD_DEST)/$*_rootfs
$(DISTROS:%=$(IMAGES_BUILD_DEST)/kata-containers-initrd-%.img): $(IMAGES_BUILD_DEST)/kata-containers-initrd-%.img: \
		$(ROOTFS_BUILD_DEST)/.%_rootfs.done initrd/initrd_builder.sh
	initrd/initrd_builder.sh -o $@ $(ROOTFS_BUILD_DEST)/$*_rootfs
images: deps-run
	@$(MAKE) --no-print-directory images-all
.PHONY: images-all
images-all: $(OWN_KERNEL) $(INITRD) $(IMAGE)
	@ls -lL $^

## make install             agent, units and images to where kata-runtime looks for them (DESTDIR=)
DESTDIR :=
SHARE := $(DESTDIR)/usr/share/kata-containers
.PHONY: install
install: $(AGENT) $(BUILD)/agent-ctl images-all
	install -D -m 755 $(AGENT) $(DESTDIR)/usr/bin/kata-agent
	install -D -s -m 755 $(BUILD)/agent-ctl $(DESTDIR)/usr/bin/agent-ctl
	install -D -m 644 -t $(DESTDIR)/usr/lib/systemd/system rootfs-builder/systemd/kata-agent.service \
		rootfs-builder/systemd/kata-containers.target
	install -D -m 644 $(OWN_KERNEL) $(SHARE)/vmlinuz.container
	install -D -m 644 $(INITRD) $(SHARE)/kata-containers-initrd.img
	install -D -m 644 $(IMAGE) $(SHARE)/kata-containers.img

# --- what is given to others ------------------------------------------------------------------
DIST := $(BUILD)/kata-static-$(VERSION)-$(shell uname -m).tar.zst
# For hosts of any distribution.
$(BUILD)/agent-ctl-static: $(CTL_OBJ)
	$(call say,LD,$@)
	$(Q)$(HOST_CC) -static-pie -Wl,-z,relro,-z,now -s -o $@ $(CTL_OBJ) -lnghttp2 -lprotobuf-c -ljson-c
$(DIST): $(BUILD)/agent-ctl-static $(OWN_KERNEL) $(INITRD) $(IMAGE) $(wildcard tools/dist/*.sh) $(BUILD)/version LICENSE
	$(call say,DIST,$@)
	$(Q)BUILD=$(abspath $(BUILD)) tools/dist/dist.sh $(VERSION_TEXT) $@
DEB := $(BUILD)/kata-agent-c_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null).deb
$(DEB): $(SHARED) $(BUILD)/agent-ctl $(wildcard tools/dist/*.sh rootfs-builder/systemd/*) LICENSE
	$(call say,DEB,$@)
	$(Q)BUILD=$(abspath $(BUILD)) tools/dist/deb.sh $(VERSION) $@

## make dist                kernel, images and agent-ctl in one archive, laid out as kata-deploy's: build/kata-static-*.tar.zst
## make deb                 a package of the agent, linked with Debian's libraries, and agent-ctl: build/kata-agent-c_*.deb
.PHONY: dist dist-file deb deb-file
dist: deps-run
	@$(MAKE) --no-print-directory dist-file
dist-file: $(DIST)
	@ls -l $^
deb: deps-deb
	@$(MAKE) --no-print-directory deb-file
deb-file: $(DEB)
	@ls -l $^

# --- run --------------------------------------------------------------------------------------
CMD ?= uname -a; id; cat /proc/1/cgroup
ROOT ?= initrd
TRANSPORT ?= vsock
PROTOCOL ?= grpc
export ACCEL ROOT TRANSPORT PROTOCOL
# A word of the command line, not of the environment of what is run.
unexport KERNEL
RUN_KERNEL = $(or $(KERNEL),$(if $(CROSS),debian),$(if $(wildcard $(OWN_KERNEL)),own,debian))

# Debian's kernel: its package's files, and an initrd with the modules that Kata's devices need.
DEBIAN := $(BUILD)/debian-kernel$(CROSS)
DEBIAN_IMAGE := linux-image-$(if $(CROSS),$(subst ppc64le,powerpc64le,$(ARCH)),amd64)
$(DEBIAN)/vmlinuz: tests/vm/debian-kernel.sh | $(SYSROOT)
	$(call say,FETCH,"$@ (Debian's $(DEBIAN_IMAGE))")
	$(Q)$(if $(CROSS),APT_CONFIG=$(abspath $(SYSROOT))/apt.conf) DEBIAN_KERNEL_PACKAGE=$(DEBIAN_IMAGE) tests/vm/debian-kernel.sh $(DEBIAN)
	@touch $@
run_cross = $(if $(CROSS),ARCH=$(ARCH) BUSYBOX=$(abspath $(SYSROOT))/bin/busybox)
$(DEBIAN)-rootfs.stamp: $(DEBIAN)/vmlinuz $(STATIC) $(ROOTFS_SRC)
	$(call say,ROOTFS,$(DEBIAN)-rootfs)
	$(Q)AGENT_INIT=yes $(if $(INITRD_EXTRAS),KATA_EXTRAS='$(INITRD_EXTRAS)') AGENT_SOURCE_BIN=$(abspath $(STATIC)) KERNEL_MODULES=kata $(run_cross) \
		KERNEL_MODULES_DIR=$$(echo $(DEBIAN)/modules/*) rootfs-builder/rootfs.sh -o $(VERSION) -r $(DEBIAN)-rootfs busybox \
		>$(DEBIAN)-rootfs.log 2>&1 || { cat $(DEBIAN)-rootfs.log; exit 1; }
	@touch $@
$(DEBIAN)-initrd.img: $(DEBIAN)-rootfs.stamp initrd/initrd_builder.sh
	$(call say,INITRD,$@)
	$(Q)initrd/initrd_builder.sh -o $@ $(DEBIAN)-rootfs >$(DEBIAN)-initrd.log 2>&1 || { cat $(DEBIAN)-initrd.log; exit 1; }

# What is misspelled is refused before anything is built or booted.
one_of = $(if $(filter-out 1,$(words $($1)))$(filter-out $2,$($1)),$(error $1=$($1): choose one of $2))
run_words = $(if $(CROSS),$(if $(filter own,$(KERNEL)),$(error KERNEL=own: with x86_64 only; ARCH=$(ARCH) boots Debian's kernel)))$(call one_of,ROOT,initrd pmem blk verity erofs)$(call one_of,TRANSPORT,vsock serial)$(call one_of,PROTOCOL,grpc \
	ttrpc)$(if $(KERNEL),$(call one_of,KERNEL,own debian))$(if $(filter debian,$(RUN_KERNEL)),$(if $(filter initrd,$(ROOT)),,$(error \
	ROOT=$(ROOT): Debian's kernel has the drivers as modules and boots from an initrd only; KERNEL=own, or make kernel)))
debian_said = $(if $(KERNEL)$(CROSS),,@echo "run: with Debian's kernel ('make kernel' builds a trimmed one in some minutes, which boots in less than half the time)" >&2)
# As it was typed: make would take each $$ for a variable of its own.
run_cmd = KATA_CMD='$(subst ','\'',$(value CMD))'

# All that make says goes to standard error: standard output is the container's alone.
run_ready = @$(MAKE) --no-print-directory $(jobs) run-$(RUN_KERNEL) >&2
# As many jobs as processors, unless whoever called make has said how many: the first container is waited for.
jobs = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
run_guest = $(if $(filter debian,$(RUN_KERNEL)),VM_KERNEL=$(abspath $(DEBIAN)/vmlinuz) VM_INITRD=$(abspath $(DEBIAN)-initrd.img)) \
	$(if $(CROSS),VM_ARCH=$(ARCH) VM_ROOTFS=$(abspath $(DEBIAN)-rootfs) VM_MEM=512M VM_TIMEOUT=180) tests/vm/run.sh

.PHONY: run shell run-own run-debian
run:
	$(run_words)$(if $(filter debian,$(RUN_KERNEL)),$(debian_said))
	$(run_ready)
	@$(run_cmd) $(run_guest)
shell:
	$(run_words)$(if $(filter debian,$(RUN_KERNEL)),$(debian_said))
	@[ -t 0 ] || { echo 'make shell needs a terminal as its standard input; make run takes a CMD' >&2; exit 1; }
	$(run_ready)
	@KATA_CMD='exec sh' KATA_TERMINAL=1 $(run_guest)
PKG_run += $(if $(filter verity,$(ROOT)),cryptsetup-bin) $(if $(filter erofs,$(ROOT)),erofs-utils)
run-own: deps-run
	@$(MAKE) --no-print-directory run-own-files
run-debian: deps-debian
	@$(MAKE) --no-print-directory run-debian-files
.PHONY: run-own-files run-debian-files
ROOT_FILE = $(or $(ROOT_FILE_$(ROOT)),$(IMAGE))
ROOT_FILE_initrd := $(INITRD)
ROOT_FILE_verity := $(VERITY)
ROOT_FILE_erofs := $(EROFS)
run-own-files: $(VM_TOOLS) $(OWN_KERNEL) $(ROOT_FILE) $(ROOTFS).stamp
	@:
run-debian-files: $(VM_TOOLS) $(DEBIAN)/vmlinuz $(DEBIAN)-initrd.img $(if $(CROSS),,$(ROOTFS).stamp)
	@:

# --- tests ------------------------------------------------------------------------------------
# Unit tests link with archives of sanitized objects, so that each takes what it uses.
SAN_OBJ := $(BUILD)/obj-san
SAN_CFLAGS := -O1 -g $(SANITIZE)
SAN_GEN := $(GEN:$(BUILD)/%.c=$(SAN_OBJ)/%.o)
$(SAN_OBJ)/%.o: %.c | $(GEN)
	$(call say,CC-SAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(SAN_CFLAGS) -c -o $@ $<
$(SAN_OBJ)/gen/%.o: $(BUILD)/gen/%.c | $(GEN)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE) $(INC) $(SAN_CFLAGS) -w -c -o $@ $<
SAN_AGENT_OBJ := $(patsubst %.c,$(SAN_OBJ)/%.o,$(filter-out agent/main.c,$(AGENT_SRC))) $(SAN_GEN)
SAN_CTL_OBJ := $(patsubst %.c,$(SAN_OBJ)/%.o,$(filter-out %/main.c,$(CTL_SRC))) \
	$(CTL_GEN:$(BUILD)/%.c=$(SAN_OBJ)/%.o)
$(BUILD)/san/libagent.a: $(SAN_AGENT_OBJ)
$(BUILD)/san/libctl.a: $(SAN_CTL_OBJ)
$(BUILD)/san/%.a:
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^
-include $(SAN_AGENT_OBJ:.o=.d) $(SAN_CTL_OBJ:.o=.d)

# The whole agent under the sanitizers, for the tests on this host (SAN=1 makes the same by hand).
ifneq ($(SAN),1)
$(BUILD)/kata-agent-san: $(SAN_OBJ)/agent/main.o $(BUILD)/san/libagent.a
	$(call say,LD,$@)
	$(Q)$(CC) $(SANITIZE) -o $@.new $^ $(LIBS) && mv $@.new $@
-include $(SAN_OBJ)/agent/main.d
endif

UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
UNIT := $(UNIT_SRC:tests/unit/%.c=$(BUILD)/unit/%)
$(BUILD)/unit/test_agent_ctl_%: UNIT_LIBS = $(BUILD)/san/libctl.a -ljson-c
$(BUILD)/unit/%: UNIT_LIBS = $(BUILD)/san/libagent.a
$(BUILD)/unit/test_agent_ctl_%: tests/unit/test_agent_ctl_%.c $(BUILD)/san/libctl.a
	$(unit_link)
$(BUILD)/unit/test_%: tests/unit/test_%.c $(BUILD)/san/libagent.a
	$(unit_link)
# A test asks for linker options of its own, such as --wrap, in a line "// ldflags: ...".
define unit_link
	$(call say,UNIT,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(BASE) -Wall -Wextra $(INC) -Itools/agent-ctl $(SAN_CFLAGS) -o $@ $< $(UNIT_LIBS) \
		$$(sed -n 's,^// ldflags: ,,p' $<) $(LIBS) -lcriterion
endef
# The tests of netlink a second time, with libmnl: it comes before the archive, whose mnl.c then isn't taken.
UNIT_MNL := $(BUILD)/unit/mnl_test_rtnl $(BUILD)/unit/mnl_test_netlink_svc
UNIT += $(UNIT_MNL)
$(BUILD)/unit/mnl_%: UNIT_LIBS = -DWITH_LIBMNL -lmnl $(BUILD)/san/libagent.a
$(BUILD)/unit/mnl_%: tests/unit/%.c $(BUILD)/san/libagent.a
	$(unit_link)

TESTS_SLOW := $(sort $(wildcard tests/counts/test_* tests/ns/test_* tests/faults/test_* tests/wire/test_* tests/interop/test_* tests/images/test_* tests/cross/test_* tests/vm/test_*))
TESTS := tests/check.sh tests/test_run.py $(UNIT) $(filter-out %.c %.h,$(TESTS_SLOW)) $(wildcard tests/fuzz/run.sh)

.PHONY: test test-all unit
test: deps-test
	@$(MAKE) --no-print-directory test-all
test-all: all $(SHARED) $(VM_TOOLS) $(BUILD)/vsock-guest $(BUILD)/kernel-probe $(BUILD)/vhost-user-vsock-san $(BUILD)/kata-agent-san $(OWN_KERNEL) $(INITRD) $(IMAGE) $(UNIT)
	@$(if $(filter shared,$(LINK)),AGENT=$(abspath $(AGENT))) tests/run.py $(TESTS)
unit: $(UNIT)
	@tests/run.py --jobs 2 tests/check.sh tests/test_run.py $(UNIT)

# One test: its programs, and what the tests of their folders take for granted.
.PHONY: check
T_PROGRAMS := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(T))
T_FILES := $(foreach t,$(T_PROGRAMS),$(firstword $(subst :, ,$(t))))
T_NEEDS := $(filter $(BUILD)/unit/%,$(T_FILES)) \
	$(if $(filter-out $(BUILD)/unit/% tests/check.sh tests/test_run.py,$(T_FILES)),all $(BUILD)/kata-agent-san) \
	$(if $(filter tests/ns/test_e2e_shared.sh tests/faults/%,$(T_FILES)),$(SHARED)) \
	$(if $(filter tests/ns/test_cgroup_guest.sh,$(T_FILES)),$(OWN_KERNEL) $(BUILD)/unit/test_cgroup_v1 $(BUILD)/unit/test_cgroup_v2) \
	$(if $(filter tests/vm/% tests/images/%,$(T_FILES)),$(VM_TOOLS) $(BUILD)/vsock-guest $(BUILD)/kernel-probe $(BUILD)/vhost-user-vsock-san \
		$(OWN_KERNEL) $(INITRD) $(IMAGE))
check: $(T_NEEDS)
	@$(if $(strip $(T)),tests/run.py $(T_PROGRAMS),echo "make check T=PROGRAM, see make help" >&2; exit 2)

.PHONY: counts
counts: deps-test
	@$(MAKE) --no-print-directory counts-all
.PHONY: counts-all
counts-all: all $(VM_TOOLS) $(OWN_KERNEL) $(INITRD)
	@tests/run.py $(sort $(wildcard tests/counts/test_*)) tests/counts/icount.py

## make fresh               README's two commands on a plain Debian made for that, as root and as a user with sudo, with
##                          either kernel: hours; FRESH='-u user -k debian -c run' does one (tests/fresh.sh -h) (root)
.PHONY: fresh
fresh:
	@tests/fresh.sh $(FRESH)
.PHONY: faults faults-all
faults: deps-test
	@$(MAKE) --no-print-directory faults-all
faults-all: all $(SHARED)
	@/usr/bin/python3 tests/faults/sweep.py $(FAULTS)
	@/usr/bin/python3 tests/faults/sweep.py --pidns --errors 1 error kill

.PHONY: mutants
mutants: all $(SHARED) $(BUILD)/kata-agent-san
	@/usr/bin/python3 tests/mutants/run.py $(MUTANTS)

SOAK ?= 100000
SOAK_GUEST ?= 2000
.PHONY: soak soak-all
soak: deps-test
	@$(MAKE) --no-print-directory soak-all
soak-all: all $(VM_TOOLS) $(OWN_KERNEL) $(INITRD)
	@/usr/bin/python3 tests/faults/soak.py $(SOAK)
	@SOAK_CYCLES=$(SOAK_GUEST) tests/run.py --limit 7200 tests/vm/test_soak.py
	@grep -h '^#' $(BUILD)/test-logs/tests_vm_test_soak.py.log

.PHONY: bench
bench: deps-test
	@$(MAKE) --no-print-directory bench-all
.PHONY: bench-all
bench-all: all $(VM_TOOLS) $(OWN_KERNEL) $(INITRD) $(IMAGE)
	@python3 tests/bench.py

# --- looking harder ---------------------------------------------------------------------------
.PHONY: analyze fuzz format
analyze: | $(GEN)
	@for f in $(AGENT_SRC); do $(CC) $(CFLAGS) -O1 -fanalyzer -Wno-analyzer-malloc-leak -Wno-analyzer-use-of-uninitialized-value \
		-c -o /dev/null -MF /dev/null $$f || exit 1; done
FUZZ_SECONDS ?= 60
fuzz: deps-test | $(GEN)
	tests/fuzz/run.sh $(FUZZ_SECONDS)
format:
	git ls-files '*.c' '*.h' | xargs clang-format -i

## make clean               remove build/ but for the kernel, which takes long
.PHONY: clean
clean:
	rm -rf $(filter-out $(BUILD)/kernel $(BUILD)/kata-vmlinuz,$(wildcard $(BUILD)/*))
