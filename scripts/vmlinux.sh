#!/bin/bash
# vmlinux.sh BPFTOOL - print vmlinux.h: the running kernel's types, for compiling the BPF programs.
# All accesses to kernel structs are to stable UAPI ones or relocated (CO-RE), so any kernel's will do.
set -euo pipefail
bpftool=${1:-bpftool}
if [[ -r /sys/kernel/btf/vmlinux ]]; then
	exec "$bpftool" btf dump file /sys/kernel/btf/vmlinux format c
fi
echo "vmlinux.sh: this kernel has no BTF (/sys/kernel/btf/vmlinux); build on one that has" >&2
exit 1
