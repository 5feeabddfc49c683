#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# repair.sh - what others change behind our back: verify finds it and names it, the next apply
# repairs it, and clients are served again.
# hooks: xdp tc
# full: xdp-generic
# guest: full
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
{
	lab_service vote '*:8080' 80
	lab_service table '*:8090' 80 maglev
} | lab_config >"$CONFIG"
apply
expect 0 verify

# Changes a byte of a map's value with bpftool, as a person could.
flip() { # MAP KEY_NUMBER OFFSET
	local bytes key=($(($2 & 255)) $(($2 >> 8 & 255)) $(($2 >> 16 & 255)) $(($2 >> 24)))
	read -r -a bytes < <(bpftool -j map lookup pinned "$PINS/$1" key "${key[@]}" |
		jq -r '.value | map(ltrimstr("0x") | explode | map(if . > 96 then . - 87 else . - 48 end)
			| .[0] * 16 + .[1]) | join(" ")')
	bytes[$3]=$((bytes[$3] ^ 1))
	bpftool map update pinned "$PINS/$1" key "${key[@]}" value "${bytes[@]}"
}

expect_found_and_repaired() { # WHAT PATTERN [APPLY_OPTION]
	expect 3 verify
	expect_text "$OUT" "$2"
	echo "$1: $(grep -m1 -iE -- "$2" <<<"$OUT")"
	expect 0 apply "${@:3}"
	expect 0 verify
	expect_alternation 4 4 >/dev/null
	expect_alternation 6 4 >/dev/null
	[[ $(ask 4 node1:8090) ]] || fail "$1: the service table is not served"
}

service_field() { # NAME FILTER: of the version in force
	bpftool -j map dump pinned "$PINS/lb_services" | jq -r --arg name "$1" --argjson g \
		"$(bpftool -j map dump pinned "$PINS/lb_config" | jq '.[0].formatted.value.generation')" \
		'.[].formatted | select(.value.name == $name) |
		 (.value.select | if ($g * 2) < (. - . % 2) then 1 - . % 2 else . % 2 end) as $slot |
		 .key as $key | .value.version[$slot] | '"$2"
}

step 'map values'
first_backend() { # of vote: its id
	bpftool -j map dump pinned "$PINS/lb_members" |
		jq "[.[].formatted][$(service_field vote '.pool[0].members')].value.backend"
}
flip lb_backends "$(first_backend)" 13
expect_found_and_repaired 'a backend'"'"'s address' 'backend'
flip lb_backends "$(first_backend)" 17
expect_found_and_repaired 'a backend'"'"'s port' '10\.0\.[12]\.2:81'
ring=$(service_field table '.pool[0].ring')
flip lb_rings $((ring / 32 + 3)) 4
expect_found_and_repaired 'a ring slot' 'ring|slot'
flip lb_members "$(service_field vote '.pool[1].members')" 4
expect_found_and_repaired 'a member'"'"'s weight' 'weight|member'

step 'the programs that take new connections'
held=$(hold_open kept 4)
programs() { find "$PINS" -name 'slow-*' -printf '%f\n' | sort; }
hook_array() { # of the hook that clients come by
	local hook=tc
	[[ $HOOK != xdp* ]] || hook=xdp
	echo "$PINS/slow-$(bpftool -j prog show pinned "$PINS/meshlb_$hook" | jq .id)"
}
equal 'program arrays' "$(programs | wc -l)" 2
rm "$PINS"/slow-*
expect_found_and_repaired 'lost program arrays' 'programs: the pin .*slow-.* is missing'
for family in 0 1; do
	bpftool map delete pinned "$(hook_array)" key $family 0 0 0
	[[ $family == 1 ]] || ! ask 4 2>/dev/null || fail 'the deleted program is still called'
	expect_found_and_repaired "an array without the program of family $family" \
		"programs: \"lb_slow_.*\" has no program \"meshlb_.*_slow$((4 + family * 2))\""
done
array=$(hook_array)
other=$(bpftool -j map lookup pinned "$array" key 1 0 0 0 | jq -r '.value | if type == "array"
	then (map(ltrimstr("0x")) | reverse | join("")) else tostring end')
echo "IPv6's program: $other"
bpftool map update pinned "$array" key 0 0 0 0 value id "$((16#$other))"
expect_found_and_repaired "the other family's program" 'programs: .* calls program [0-9]*, which is not'
equal 'program arrays after repairs' "$(programs | wc -l)" 2
equal 'the connection held over all of it' "$(ask_held kept)" "$held"

step 'damage beside a change: both are told, both are made'
flip lb_rings $((ring / 32 + 3)) 4
ring=$(service_field vote '.pool[0].ring')
flip lb_rings $((ring / 32)) 2
{
	lab_service vote '*:8080' 80
	lab_service table '*:8090' 80 random
} | lab_config >"$CONFIG"
expect 3 apply --dry-run
expect_text "$OUT" '^~ service table: scheduler maglev -> random'
expect_text "$OUT" '^to repair: service "vote": ring slot 1 '
expect 0 apply
expect_text "$OUT" '^~ service table: scheduler maglev -> random'
expect_text "$OUT" '^repaired: service "vote": ring slot 1 '
expect 0 verify
expect_alternation 4 4

step 'a listen deleted, a port forgotten'
read -r -a listen < <(bpftool -j map dump pinned "$PINS/lb_listens" |
	jq -r '[.[] | select(.formatted.key.port == 36895)][0].key | join(" ")') # 8080, swapped
bpftool map delete pinned "$PINS/lb_listens" key "${listen[@]}"
expect_found_and_repaired 'a listen' '8080'

step 'the hooks'
rm_links() { find "$PINS" -name '*eth0*' -delete; }
links=$(find "$PINS" -name '*eth0*')
echo "pins of eth0: ${links:-none}"
rm_links
lab_in node1 tc qdisc del dev eth0 clsact 2>/dev/null || true
expect_found_and_repaired 'a lost link' 'eth0'

if [[ $HOOK == xdp* ]]; then
	rm_links
	lab_in node1 ip link set eth0 "${HOOK/xdp-generic/xdpgeneric}" \
		object "$BUILD/tests/e2e/pass.bpf.o" section xdp
	expect_found_and_repaired 'a foreign program' 'eth0.*foreign_xdp'
else
	rm_links
	lab_in node1 tc qdisc add dev eth0 clsact 2>/dev/null || true
	lab_in node1 tc filter del dev eth0 ingress # ours, where the kernel has no tcx
	lab_in node1 tc filter add dev eth0 ingress handle 1 prio 1 protocol all bpf da \
		object-file "$BUILD/tests/e2e/pass.bpf.o" section tc
	expect_found_and_repaired 'a foreign filter in place of ours' 'eth0'
fi

if [[ $HOOK == xdp* ]]; then
	step 'an interface that was never ours is not taken from another program without --force'
	lab_meshlb down
	lab_in node1 ip link set eth0 "${HOOK/xdp-generic/xdpgeneric}" \
		object "$BUILD/tests/e2e/pass.bpf.o" section xdp
	expect 1 apply
	expect_text "$ERR" 'eth0.*foreign_xdp|foreign_xdp.*eth0'
	expect_text "$ERR" '--force'
	[[ ! -e $PINS ]] || fail 'a refused first apply leaves an instance'
	# Of another namespace, with the same index: a link does not say whose it is.
	lab_ns twin
	lab_in twin ip link add t0 index "$(lab_in node1 ip -j link show eth0 | jq ".[0].ifindex")" type veth peer name t1 index 999
	lab_in twin ip addr add 10.77.0.1/24 dev t0
	lab_in twin ip link set t0 up
	lab_in twin ip link set t1 up
	twin() { lab_in twin "$MESHLB" --instance "$LAB-twin" "$@"; }
	twin apply -f - <<-CONFIG
		interfaces: [{ name: t0, hook: xdp-generic }]
		limits: { connections: 1024 }
		services: [{ name: t, listen: ["10.77.0.1:80"], backends: [{ address: "10.77.0.2:80" }] }]
	CONFIG
	expect 0 apply --force
	expect 0 verify
	expect_alternation 4 4
	expect 0 twin verify
	twin down
fi
