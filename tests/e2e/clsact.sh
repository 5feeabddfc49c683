#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# clsact.sh - before tcx the tc program is a filter of a clsact qdisc: we take away the qdiscs that
# we made, and leave others', even empty ones.
# hooks: tc
# guest: tc
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
qdiscs() { lab_in node1 tc qdisc show | sed -n 's/^qdisc clsact .* dev \([^ ]*\) .*/\1/p' | sort | xargs; }

lab_in node1 tc qdisc add dev r1 clsact
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply
if [[ $(lab_meshlb -j status | jq -r '.hooks[0].mode') == tcx ]]; then
	skip 'this kernel has tcx'
fi
equal 'clsact with meshlb' "$(qdiscs)" 'eth0 r1 r2'
lab_in node1 tc filter add dev r2 egress prio 7 protocol ip matchall action pass
expect 0 apply
expect 0 lab_meshlb down
equal 'clsact after down: theirs, and where they have a filter' "$(qdiscs)" 'r1 r2'

step 'again: r2 is another'"'"'s by now; an interface that leaves the config'
lab_in node1 tc filter del dev r2 egress prio 7
apply
LAB_IFACES=(r1 r2)
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply
equal 'clsact without eth0' "$(qdiscs)" 'r1 r2'

step 'one that we made, then deleted and made by another while we were off'
LAB_IFACES=(eth0 r1 r2)
lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
apply
LAB_IFACES=(r1 r2)
lab_service vote '*:8080' 80 | lab_config >"$LAB_DIR/without.yaml"
lab_meshlb apply -f "$LAB_DIR/without.yaml"
equal 'clsact without eth0' "$(qdiscs)" 'r1 r2'
lab_in node1 tc qdisc add dev eth0 clsact
apply
lab_meshlb apply -f "$LAB_DIR/without.yaml"
equal 'clsact without eth0, made by another' "$(qdiscs)" 'eth0 r1 r2'
expect 0 lab_meshlb down
equal 'clsact after down' "$(qdiscs)" 'eth0 r1 r2'
