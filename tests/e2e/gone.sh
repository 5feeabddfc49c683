#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# gone.sh - what a removed backend still sends comes to its client, though ids are given away: those
# of backends that went before it come first.
# hooks: tc
# full: xdp
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_spawn r1 "$E2E/half.py" serve 9000
lab_until 10 lab_listening r1 9000

become() { # PORT...: at r1
	{
		printf '  - name: half\n    listen: ["*:9000"]\n    backends:\n'
		printf '      - { address: "10.0.1.2:%s" }\n' "$@"
	} | lab_config | sed 's/backends: 256/backends: 40/' >"$CONFIG"
	apply >/dev/null
}
given() { # how often ids were given away that had been others'
	bpftool -j map dump pinned "$PINS/lb_backends" | jq '[.[].formatted.value.reuse] | add'
}

step 'a client has closed its side; all ids are in use or were'
become 9000
lab_spawn node2 "$E2E/half.py" client $VIP4 9000 "$LAB_DIR/go" >"$LAB_DIR/half" 2>&1
lab_until 5 grep -q half "$LAB_DIR/half"
for from in 10000 10100 10200 10300; do
	# shellcheck disable=SC2046
	become 9000 $(seq $from $((from + 29)))
done
before=$(given)
((before > 0)) || fail 'there are ids that were never used'

step 'its backend is removed, and ids are given away'
# shellcheck disable=SC2046
become $(seq 11000 11029)
# shellcheck disable=SC2046
become $(seq 12000 12029)
(($(given) >= before + 60)) || fail 'too few'
: >"$LAB_DIR/go"
# What the client acknowledges, which is still connected, is answered by a reset. If nothing of it
# had come it would wait for ever.
lab_until 5 grep -q ConnectionReset "$LAB_DIR/half" || fail "$(<"$LAB_DIR/half")"
(($(reason backend-gone-reset) >= 1)) || fail 'no connection met a removed backend' # what is on its way is reset, too
equal 'its state' "$(lab_meshlb -j conn ls | jq -r '.connections[].state')" closed
