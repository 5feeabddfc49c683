#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lab.sh DATAPATH - a lab with three replicas and several addresses for client and node, in
# which player.py plays what comes by standard input, until that ends.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly DATAPATH=$1 REPLICAS=3
LAB=${LAB:-mlb$$}-$DATAPATH
# shellcheck source=scripts/lab.sh
. scripts/lab.sh
exec 3>&1 1>&2
lab_begin

lab_topology direct $REPLICAS
lab_addr node2 eth0 192.0.2.3/24 192.0.2.200/24 2001:db8::3/64 2001:db8:0:0:ffff::4/64
lab_addr node1 eth0 192.0.2.9/24 2001:db8::9/64
# x4 and x6 are another host's behind the node, r3's; of y4 and y6 node1 knows nothing.
lab_addr r3 lo 198.51.100.7/32 2001:db8:100::7/128
lab_in node1 ip -4 route add 198.51.100.7 via 10.0.3.2
lab_in node1 ip -6 route add 2001:db8:100::7 via fd00:3::2
# A port is used again at once: nobody waits for what may still be under way.
for ns in node2 r{1..3}; do
	lab_sysctl "$ns" net.ipv4.tcp_max_tw_buckets=0
done
# `flood` begins at addresses that are nobody's.
lab_in node1 ip -4 route add 198.18.0.0/15 via 192.0.2.2
# That UDP is refused must be said each time.
for ns in node1 r3; do
	lab_sysctl "$ns" net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0
done

{
	echo "datapath: $DATAPATH"
	: | lab_config | sed '/^datapath:/d; /^services:/d; s/connections: [0-9]*/connections: 4096/'
} >"$LAB_DIR/header.yaml"
LAB_INSTANCES+=("$LAB")
python3 -B tests/diff/player.py "$LAB" "$LAB_DIR/header.yaml" "$MESHLB" \
	"$BUILD/next/meshlb" >&3 3>&-
