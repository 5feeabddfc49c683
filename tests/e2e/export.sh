#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# export.sh - `export | apply -f -` is empty, and makes the same instance from nothing.
# guest: full
# guest-full: ipvs
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
{
	lab_service vote '*:8080,[2001:db8::1]:8081/tcp,192.0.2.1:53/udp' 80
	cat <<-CONFIG
		  - name: weights
		    listen: ["0.0.0.0:9000", "[::]:9000/udp"]
		    scheduler: wrr
		    backends:
		      - { address: "10.0.1.2:80", weight: 0 }
		      - { address: "10.0.2.2:81", weight: 65535 }
		      - { address: "[fd00:1::2]:80", weight: 7 }
		  - name: table
		    listen: ["*:9001"]
		    scheduler: maglev
		    backends:
		      - { address: "10.0.1.2:80", weight: 3 }
		  - name: hash
		    listen: ["192.0.2.1:9002"]
		    scheduler: sh
		    backends:
		      - { address: "10.0.2.2:80" }
		  - name: chance
		    listen: ["192.0.2.1:9003/udp"]
		    scheduler: random
		    backends:
		      - { address: "10.0.2.2:80" }
	CONFIG
} | lab_config >"$CONFIG"
apply

step 'what is exported is what is there'
lab_meshlb export >"$LAB_DIR/exported.yaml"
cat "$LAB_DIR/exported.yaml"
expect 0 lab_meshlb check -f "$LAB_DIR/exported.yaml"
expect 0 lab_meshlb apply --dry-run -f - <"$LAB_DIR/exported.yaml"
expect 0 lab_meshlb apply -f - <"$LAB_DIR/exported.yaml"
equal 'the export after it' "$(lab_meshlb export)" "$(<"$LAB_DIR/exported.yaml")"

step 'a new instance of it exports the same'
lab_meshlb down
lab_meshlb apply -f - <"$LAB_DIR/exported.yaml"
equal 'the second export' "$(lab_meshlb export)" "$(<"$LAB_DIR/exported.yaml")"
expect_alternation 4 4
expect 0 lab_meshlb apply --dry-run -f "$CONFIG"

step 'a port that goes to another service, and from one family to both or back: what is there is what was wanted'
listens() { # SERVICE LISTEN
	lab_service "$1" "$2" 80 | lab_config >"$LAB_DIR/$1.yaml"
}
for pair in '0.0.0.0:9100 *:9100' '[::]:9100 *:9100' '*:9100 [::]:9100' '0.0.0.0:9100,[::]:9100 *:9100' '*:9100 0.0.0.0:9100,[::]:9100'; do
	listens one "${pair% *}"
	listens two "${pair#* }"
	lab_meshlb apply -q -f "$LAB_DIR/one.yaml" >/dev/null
	expect 0 lab_meshlb apply -f "$LAB_DIR/two.yaml"
	expect 0 lab_meshlb verify -f "$LAB_DIR/two.yaml"
	expect 0 lab_meshlb apply -f "$LAB_DIR/two.yaml"
	equal "the second apply of $pair" "$OUT" 'no difference'
done
