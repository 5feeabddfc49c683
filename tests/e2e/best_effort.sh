#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# best_effort.sh - what a datapath cannot do is refused by name, or left out with --best-effort;
# `auto` takes one that can do it. (What ipvs cannot do: ipvs.sh.)
# hooks: tc
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
many() { # FIRST-LINE: more weighted backends than nft's rings have slots
	local i
	printf '  - name: many\n    listen: ["%s:8082"]\n    scheduler: wrr\n    backends:\n' $VIP4
	for ((i = 0; i < 1025; i++)); do
		printf '      - { address: "10.0.1.2:%d", weight: %d }\n' $((1000 + i)) $((1 + i % 2))
	done
}
{
	echo 'datapath: ebpf'
	{
		lab_service vote '*:8080' 80 | sed 's/^    backends:/    forwarding: masq\n&/'
		lab_service plain '*:8081' 80
	} | lab_config
} >"$CONFIG"
line=$(grep -n 'name: vote' "$CONFIG" | cut -d: -f1)
masq="$CONFIG:$line: forwarding: \"masq\": service \"vote\": datapath ebpf knows nat alone"

step 'ebpf does not masquerade: refused by name, nothing is there'
expect 1 apply
expect_text "$ERR" "error: $masq"
expect 1 lab_meshlb check -f "$CONFIG"
expect_text "$ERR" "error: $masq"
expect 1 lab_meshlb status
expect_text "$ERR" 'there is none'
[[ ! -e $PINS ]] || fail "left behind: $PINS"

step 'with --best-effort it is nat, and said'
expect 0 lab_meshlb check -f "$CONFIG" --best-effort
expect_text "$ERR" "warning: left out: $masq"
expect_text "$OUT" 'its limits take .* of kernel memory'
expect 3 apply --dry-run --best-effort
expect 0 apply --best-effort
expect_text "$ERR" "warning: left out: $masq"
equal 'forwarding' "$(lab_meshlb -j service show vote | jq -r .forwarding)" nat
expect_alternation 4 4
equal 'the client that nginx sees' "$(seen_client 4)" $CLIENT4
expect 3 verify
expect_text "$OUT" "^$masq"
equal 'lines of verify' "$(wc -l <<<"$OUT")" 1
equal 'changes, in JSON' "$(lab_meshlb -j verify -f "$CONFIG" | jq -c '[.changes, (.findings | length)]')" '[[],1]'
expect 0 lab_meshlb verify -f "$CONFIG" --best-effort
expect_text "$OUT" "left out: $masq"
expect 0 apply --best-effort -j
equal 'left out, in JSON' "$(jq -r '.skipped | length' <<<"$OUT")" 1
equal 'changes' "$(jq -r '.changes | length' <<<"$OUT")" 0
expect 1 apply
expect_text "$ERR" "error: $masq"
expect_alternation 4 4

step 'auto takes a datapath that can do it, and says why not the others'
sed -i 's/^datapath: ebpf/datapath: auto/' "$CONFIG"
expect 0 lab_meshlb check -f "$CONFIG"
[[ $OUT != *'limits take'* ]] || fail "limits that take nothing: $OUT"
expect 0 apply
expect_text "$OUT" '~ datapath ebpf -> (nft|ipvs)'
expect_text "$ERR" "datapath (nft|ipvs): $masq"
expect_alternation 4 4
expect_text "$(seen_client 4)" '^10\.0\.[12]\.1$'
why_is() { # PATTERN: the text says so, and the JSON the same
	expect_text "$(lab_meshlb status)" "^datapath auto: $1"
	equal 'why, in JSON' "datapath auto: $(lab_meshlb -j status | jq -r .datapath_why)" "$(lab_meshlb status | sed -n 2p)"
}
why_is 'forwarding: "masq": service "vote": datapath ebpf'
expect 0 verify

step 'a service too large for nft: refused, left out alone, or by auto on ebpf'
sed -i 's/^datapath: auto/datapath: nft/; /forwarding: masq/d' "$CONFIG"
expect 0 apply
cp "$CONFIG" "$LAB_DIR/small.yaml"
many >>"$CONFIG"
sed -i 's/backends: 256/backends: 4096/' "$CONFIG" "$LAB_DIR/small.yaml"
expect 1 apply
expect_text "$ERR" 'service: "many": datapath nft has room for 1024 weighted backends a service'
expect 3 lab_meshlb verify -f "$LAB_DIR/small.yaml"
expect 0 apply --best-effort
expect_text "$ERR" 'left out: .*: service: "many": datapath nft has room'
equal services "$(lab_meshlb -j service ls | jq -r '[.services[].name] | join(" ")')" 'plain vote'
expect 0 lab_meshlb verify -f "$CONFIG" --best-effort
sed -i 's/^datapath: nft/datapath: auto/' "$CONFIG"
expect 0 apply
expect_text "$OUT" '~ datapath nft -> ebpf'
why_is 'its first choice, ebpf, can do all that is served'
equal services "$(lab_meshlb -j service ls | jq -r '[.services[].name] | join(" ")')" 'many plain vote'

step 'a listen that is one of its backends: refused on nft, left out, or by auto on ebpf, where it serves'
cp "$LAB_DIR/small.yaml" "$LAB_DIR/own.yaml"
cat >>"$LAB_DIR/own.yaml" <<-EOF
	  - name: own
	    listen: ["10.0.1.2:80"]
	    backends: ["10.0.1.2:80", "10.0.2.2:80"]
EOF
expect 1 lab_meshlb apply -f "$LAB_DIR/own.yaml"
expect_text "$ERR" 'service: "own": datapath nft knows nothing of connections to a backend that is itself the listen'
expect 1 lab_meshlb check -f "$LAB_DIR/own.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/own.yaml" --best-effort
expect_text "$ERR" 'left out: .*: service: "own": datapath nft knows nothing'
equal services "$(lab_meshlb -j service ls | jq -r '[.services[].name] | join(" ")')" 'plain vote'
sed -i 's/^datapath: nft/datapath: auto/' "$LAB_DIR/own.yaml"
expect 0 lab_meshlb apply -f "$LAB_DIR/own.yaml"
expect_text "$OUT" '~ datapath nft -> ebpf'
expect_alternation 4 4 10.0.1.2:80
equal connections "$(lab_meshlb -j service show own | jq .counters.connections)" 4
expect 0 apply

step 'what none can do is refused; with --best-effort the one that runs does the rest'
if ! lab_in node1 modprobe ip_vs 2>/dev/null; then
	cp "$CONFIG" "$LAB_DIR/plain.yaml"
	sed -i 's/^    backends:/    forwarding: masq\n&/' "$CONFIG"
	before=$(lab_meshlb export)
	expect 1 apply
	expect_text "$ERR" 'no datapath can do all of this here: .*masq.*; .*; .*datapath nft has room'
	equal 'what runs' "$(lab_meshlb export)" "$before"
	expect 1 lab_meshlb check -f "$CONFIG"
	expect 0 apply --best-effort
	equal datapath "$(lab_meshlb -j status | jq -r .datapath)" ebpf
	why_is 'its first choice, ebpf, can do all that is served' # masq is not
	sed 's/^    backends:/    forwarding: masq\n&/; s/^datapath: .*/datapath: auto/' "$LAB_DIR/small.yaml" >"$LAB_DIR/masq.yaml"
	expect 0 lab_meshlb apply -f "$LAB_DIR/masq.yaml"
	equal datapath "$(lab_meshlb -j status | jq -r .datapath)" nft
	expect 0 apply --best-effort
	equal datapath "$(lab_meshlb -j status | jq -r .datapath)" nft
	equal services "$(lab_meshlb -j service ls | jq -r '[.services[].name] | join(" ")')" 'plain vote'
	equal forwarding "$(lab_meshlb -j service show vote | jq -r .forwarding)" masq
fi

step 'settings that are left out of a new instance are no change of it'
expect 0 lab_meshlb down
{
	echo 'timeouts: { syn: 10s }'
	echo 'rates: { per-cpu: 100 }'
	echo 'datapath: nft'
	lab_service vote '*:8080' 80 | lab_config
} >"$LAB_DIR/settings.yaml"
expect 3 lab_meshlb apply -f "$LAB_DIR/settings.yaml" --best-effort --dry-run
[[ $OUT != *defaults* ]] || fail "changes of what was not: $OUT"
expect 0 lab_meshlb apply -f "$LAB_DIR/settings.yaml" --best-effort -j
expect_text "$ERR" 'left out: .*timeouts: datapath nft'
equal changed "$(jq .changed <<<"$OUT")" 0
equal 'objects of the changes' "$(jq -c '[.changes[].object] | unique' <<<"$OUT")" '["interface","service"]'
expect 0 lab_meshlb apply -f "$LAB_DIR/settings.yaml" --best-effort
equal 'once more' "$OUT" 'no difference'

if ! kernel_tells_xdp; then
	echo 'left out: this kernel does not tell beforehand which interfaces have native XDP'
	exit 0
fi
step 'an interface that cannot have its hook: refused, auto left instead, or by auto another datapath'
lab_meshlb down >/dev/null
lab_in node1 ip link add br9 type bridge
{
	echo 'datapath: ebpf'
	LAB_IFACES+=(br9)
	lab_service vote '*:8080' 80 | lab_config
} | sed 's/name: br9, hook: .*/name: br9, hook: xdp }/' >"$CONFIG"
expect 1 apply
expect_text "$ERR" 'hook: "xdp": the driver of interface "br9" has no native XDP'
expect 0 apply --best-effort
expect_text "$ERR" 'left out: .*hook: "xdp": the driver of interface "br9"'
equal hook "$(lab_meshlb -j status | jq -r '.hooks[] | select(.interface == "br9").hook')" tc
expect_alternation 4 2
sed -i 's/^datapath: ebpf/datapath: auto/' "$CONFIG"
expect 0 apply
expect_text "$OUT" '~ datapath ebpf -> (nft|ipvs)'
expect_text "$ERR" 'datapath (nft|ipvs): .*hook: "xdp": the driver of interface "br9"'
expect_alternation 4 2
expect 0 verify
