#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# damage.sh - values that no meshlb writes, in every map that it reads, and pins that are gone:
# verify names each, apply mends it, and a connection that stands lives through all of it.
# hooks: tc
# full: xdp-generic
# guest: full
# limit: 240
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

lab_topology direct 2
lab_nginx r1 r2
{
	lab_service vote '*:8080' 80
	lab_service bound "$VIP4:8081,[$VIP6]:8081" 80
} | lab_config >"$CONFIG"
apply
held=$(hold_open kept 4)

number() { # N BYTES: little-endian
	local i
	for ((i = 0; i < $2; i++)); do printf '%d ' $(($1 >> 8 * i & 255)); done
}

bytes_of() { # MAP KEY: its value
	# shellcheck disable=SC2086
	bpftool -j map lookup pinned "$PINS/$1" key $2 | jq -r '.value | map(ltrimstr("0x") | explode |
		map(if . > 96 then . - 87 else . - 48 end) | .[0] * 16 + .[1]) | join(" ")'
}

poke() { # MAP KEY OFFSET BYTE...
	local map=$1 key=$2 offset=$3 value byte
	shift 3
	read -r -a value < <(bytes_of "$map" "$key")
	for byte; do value[offset++]=$byte; done
	# shellcheck disable=SC2086
	bpftool map update pinned "$PINS/$map" key $key value "${value[@]}"
}

expect_mended() { # WHAT PATTERN
	expect 3 verify
	expect_text "$OUT" "$2"
	echo "$1: $(grep -m1 -E -- "$2" <<<"$OUT")"
	expect 0 lab_meshlb status
	expect 0 apply
	expect 0 verify
	equal "$1: an apply after it" "$(apply)" 'no difference'
	expect_alternation 4 2 >/dev/null
	expect_alternation 6 2 >/dev/null
	[[ $(ask 4 node1:8081) && $(ask 6 node1:8081) ]] || fail "$1: no answer on 8081"
	equal "$1: the connection that stood" "$(ask_held kept)" "$held"
}

readonly ZERO='0 0 0 0'
in_force() { # NAME: id and slot
	local generation
	generation=$(bpftool -j map dump pinned "$PINS/lb_config" |
		jq '.[0].formatted.value.generation')
	bpftool -j map dump pinned "$PINS/lb_services" | jq -r --arg name "$1" --argjson g \
		"$generation" '.[].formatted | select(.value.name == $name) | [.key,
		(.value.select | if $g * 2 < . - . % 2 then 1 - . % 2 else . % 2 end)] | join(" ")'
}
poke_version() { # NAME OFFSET BYTE...
	local id slot offset=$2
	read -r id slot < <(in_force "$1")
	shift 2
	poke lb_services "$(number "$id" 4)" $((8 + 48 * slot + offset)) "$@"
}

poke_config() { # FIELD BYTE...
	local offset
	offset=$(bpftool -j btf dump map pinned "$PINS/lb_config" value | jq --arg field "$1" \
		'.types[] | select(.name == "lb_config").members[] | select(.name == $field).bits_offset / 8')
	poke lb_config "$ZERO" "$offset" "${@:2}"
}

step lb_config
poke_config generation 255 255 255 255
expect_mended generation 'lb_config: generation is 4294967295, should be 1 to 2147483646'
equal 'the generation begins anew' "$(lab_meshlb -j status | jq '.generation < 10')" true
poke_config secret 1 2 3 4 5 6 7 8
expect_mended secret 'lb_config: its secret is not'
poke_config abi 77
expect_mended abi 'lb_config: abi is 77'
poke_config netns 1 2 3 4
expect_mended netns 'lb_config: netns is'
poke_config connections 1 0 0 0
expect_mended connections 'lb_config: connections is 1, .* made for 65536'
poke_config connections6 255 255 255 255
expect_mended connections6 'lb_config: connections6 is 4294967295, .* made for 65536'
poke_config services 17 0 0 0 1 1 0 0 31
expect_mended 'services, backends, ring_slots' 'lb_config: ring_slots is 524319, .* for 524288'
poke_config default_scheduler 99 0 0 0 4 0 0 0
expect_mended defaults 'lb_config: there is no scheduler 99'

step lb_listens
listen() { # PORT PROTO PAD SERVICE: an address that nobody has
	# shellcheck disable=SC2046
	bpftool map update pinned "$PINS/lb_listens" key 0 0 0 0 0 0 0 0 0 0 255 255 203 0 113 7 \
		$(($1 >> 8)) $(($1 & 255)) "$2" "$3" value $(number 0 4) $(number "$4" 4) \
		$(number "$4" 4) $(number "${5:-0}" 4)
}
listen 8099 255 0 1
expect_mended 'protocol 255' 'listen "203.0.113.7:8099/unknown": no config can have it'
listen 8099 0 1 1
expect_mended padding 'listen .*no config can have it .*padding 1'
listen 0 0 0 1
expect_mended 'port 0' 'listen .*:0/.*no config can have it'
listen 8099 0 0 4000000000
expect_mended 'no service' 'listen .* service id 4000000000, which is none'
listen 8099 0 0 1 255
expect_mended flags 'listen .*: its flags are 0xff, should be 0'

step lb_services
poke_version vote 34 0
expect_mended 'source 0' 'service "vote": there is no source 0'
poke_version vote 34 99
expect_mended 'source 99' 'service "vote": there is no source 99'
poke_version vote 33 99
expect_mended scheduler 'service "vote": there is no scheduler 99'
poke_version vote 36 255 255 255 255
expect_mended 'maglev size' 'service "vote": its maglev size is 4294967295'
poke_version vote 0 255 255 255 255
expect_mended ring 'service "vote": its pool 0 points outside'
poke_version vote 28 255 255 255 127
expect_mended members 'service "vote": its pool 1 points outside'

read -r id slot < <(in_force vote)
poke lb_services "$(number "$id" 4)" 0 $((254 + slot)) 255 255 255
expect_mended 'a select of no generation' 'generation is .* services or listens are of later ones'
poke_version vote 40 9
expect_mended unknown 'service "vote": there is no value 9 of unknown'
poke_version vote 41 9
expect_mended on-remove 'service "vote": there is no value 9 of on-remove'
poke_version vote 42 33 128
expect_mended affinity 'service "vote": no affinity can have masks of 33 and 128 bits'
poke_version vote 44 9
expect_mended across-ports 'service "vote": there is no value 9 of affinity.across-ports'
poke_version vote 34 0 # so that vote is of a generation beyond the first ones
apply
poke_version vote 34 0
apply
poke_config generation 1 0 0 0
expect_mended 'a generation of the past' 'generation is 1, but services or listens are of later ones'
poke_config generation 0 0 0 0
expect_mended 'generation 0' 'lb_config: generation is 0, should be 1 to 2147483646'

read -r id slot < <(in_force bound)
name=$(bpftool -j btf dump map pinned "$PINS/lb_services" value |
	jq '.types[] | select(.name == "lb_service").members[] | select(.name == "name").bits_offset / 8')
poke lb_services "$(number "$id" 4)" "$name" 27 7 10
expect_mended 'control characters in a name' '- service \?\?\?nd$'

step 'lb_members, lb_backends'
member() { # FIELD: of the first member of vote
	local id slot
	read -r id slot < <(in_force vote)
	bpftool -j map dump pinned "$PINS/lb_services" |
		jq "[.[].formatted][$id].value.version[$slot].pool[0].members"
}
poke lb_members "$(number "$(member)" 4)" 8 255 255 255 127
expect_mended override 'backend "10.0.1.2:80" .*: its weight by hand is 2147483647'
poke lb_members "$(number "$(member)" 4)" 4 0 0 1 0
expect_mended weight 'backend "10.0.1.2:80" .*: its weight is 65536'
poke lb_members "$(number "$(member)" 4)" 8 2 0 1 0
expect 0 lab_meshlb backend weight vote 10.0.2.2:80 2
expect 0 lab_meshlb backend undrain vote 10.0.2.2:80
expect 0 verify
backend() {
	bpftool -j map dump pinned "$PINS/lb_members" | jq "[.[].formatted][$(member)].value.backend"
}
poke lb_backends "$(number "$(backend)" 4)" 18 77
expect_mended family 'backend "10.0.1.2:80" .*: its family is 77'
poke lb_backends "$(number "$(backend)" 4)" 19 9
expect_mended state 'backend .*: its state is 9'
poke lb_backends "$(number "$(backend)" 4)" 32 1
expect_mended drained 'backend "10.0.1.2:80" .*: it takes no new connections, and its weight is not 0'
poke lb_backends "$(number "$(backend)" 4)" 32 255 255 255 255
expect_mended 'drained in the future' 'backend .*: it is drained, or not, from a generation .* to come'

step lb_timeouts
poke lb_timeouts "$ZERO" 20 255 255 0 0 # not so few that the connection expires
expect_mended ticks 'lb_timeouts: ticks\[5\] is 65535, should be [0-9]+'
poke lb_timeouts "$ZERO" $((1024 + 4)) 5 0 0 0
expect_mended seconds 'lb_timeouts: seconds\[0\]\[1\] is 5, should be 60 to 172800'
poke lb_timeouts "$ZERO" $((1024 + 32 * 3)) 255 255 255 255
expect_mended "nobody's set" 'lb_timeouts: seconds\[3\]\[0\] is 4294967295'
poke_version vote 35 99
expect_mended 'set of a service' 'service "vote": there is no set of timeouts 99'

step lb_rates
poke lb_rates "$ZERO" 0 255 255 255 255
expect_mended 'of a CPU' 'lb_rates: per_cpu is 4294967295, should be at most 10000000'
poke lb_rates "$ZERO" 4 255 255 255 255
expect_mended 'of a source' 'lb_rates: per_source is 4294967295'
poke lb_rates "$ZERO" 8 255 0 255
expect_mended 'IPv4 mask' 'lb_rates: mask of IPv4 sources: it is none of a prefix'
poke lb_rates "$ZERO" 24 0
expect_mended 'IPv6 mask' 'lb_rates: mask of IPv6 sources: it is none of a prefix'

step lb_ifaces
iface=$(number "$(lab_meshlb -j status |
	jq '[.hooks[] | select(.interface == "eth0")][0].ifindex')" 4)
poke lb_ifaces "$iface" 0 120 120 120 120 120 120 120 120 120 120 120 120 120 120 120 120
expect_mended 'name without an end' 'interface index [0-9]*: its record in lb_ifaces is damaged'
poke lb_ifaces "$iface" 17 200 201
expect_mended 'hooks' 'interface index [0-9]*: its record in lb_ifaces is damaged'
# shellcheck disable=SC2046
bpftool map update pinned "$PINS/lb_ifaces" key $(number 3000000000 4) value $(number -1 8) \
	$(number -1 8) $(number -1 8)
expect_mended 'an interface that is none' 'interface index 3000000000: its record .* is damaged'

step 'foreign programs before ours'
expect_told() { # WHAT PATTERN: traffic dies, and it is said why; --force mends it
	! ask 4 2>/dev/null || fail "$1: answered"
	expect 3 verify
	expect_text "$OUT" "$2"
	expect 0 lab_meshlb status
	expect_text "$OUT" "$2"
	echo "$1: $(verify | grep -m1 -E -- "$2")"
}
readonly DROP=$BUILD/tests/e2e/drop.bpf.o
if [[ $HOOK == tc ]]; then
	lab_in node1 ip link set eth0 xdpgeneric object "$DROP" section xdp
	expect_told 'XDP before tc' 'foreign XDP program "foreign_drop" .* sees its packets first'
	expect 0 apply
	expect_text "$OUT" 'no difference'
	expect_text "$ERR" 'eth0.*foreign_drop.*--force'
	expect 0 apply --force
	expect_text "$OUT" 'repaired: .*foreign_drop'
	expect 0 verify
	expect_alternation 4 2
fi
if [[ $(lab_meshlb -j status | jq -r '.hooks[0].mode') == tcx ]]; then # not on Linux 6.1
	lab_in node1 ip link add spare type veth peer name spare-peer
	lab_in node1 tc qdisc add dev spare clsact
	lab_in node1 tc filter add dev spare ingress bpf da object-file "$DROP" section tc
	id=$(lab_in node1 tc -j filter show dev spare ingress | jq '.[].options.prog.id // empty')
	lab_spawn node1 "$E2E/tcx.py" eth0 "$id" >"$LAB_DIR/tcx"
	lab_until 5 grep -q attached "$LAB_DIR/tcx"
	expect_told 'tcx before ours' 'foreign tc program "meshlb_tc" .* is in front of it'
	expect 0 apply
	expect 0 verify
	expect_alternation 4 2
	kill "$LAB_PID"
	lab_in node1 ip link del spare
fi
equal 'the connection that stood' "$(ask_held kept)" "$held"

# Without tcx an interface has room for one instance, and another is refused.
if [[ $(lab_meshlb -j status | jq -r '.hooks[0].mode') == tcx ]]; then
	step 'another instance that takes the same'
	LAB_INSTANCES+=("$LAB-b.c")
	other() { lab_in node1 "$MESHLB" --instance "$LAB-b.c" "$@"; }
	lab_service theirs '0.0.0.0:8080,198.51.100.1:8082' 80 | lab_config >"$LAB_DIR/other.yaml"
	expect 0 other apply -f "$LAB_DIR/other.yaml"
	expect_text "$ERR" "\"theirs\": listen \"0.0.0.0:8080/tcp\" is instance \"$LAB\"'s, too.* \"eth0\""
	expect 0 verify
	expect_text "$ERR" "\"vote\": listen \"\*:8080/tcp\" is instance \"$LAB-b.c\"'s, too"
	sed -i 's/0.0.0.0:8080/192.0.2.1:8083/' "$LAB_DIR/other.yaml"
	expect 0 other apply -f "$LAB_DIR/other.yaml"
	equal 'warnings where no listen is shared' "$(grep 'too, on' <<<"$ERR" || true)" ''
	expect 0 verify
	equal 'warnings where no listen is shared' "$ERR" ''
	expect 0 other down
fi

step pins
for map in "$PINS"/lb_*; do
	rm "$map"
	expect 3 verify
	expect_text "$OUT" "map \"${map##*/}\": its pin in .* is missing"
	[[ $map != *lb_config ]] || expect 0 lab_meshlb backend drain vote 10.0.1.2:80
	[[ ! -e $map || $map == *lb_config ]] || fail "verify wrote $map"
	lab_meshlb backend undrain vote 10.0.1.2:80
	expect 0 apply
	expect 0 verify
	[[ -e $map ]] || fail "$map is not pinned again"
done
equal 'the connection that stood' "$(ask_held kept)" "$held"
rm "$PINS"/lb_*
expect_mended 'all maps' 'map "lb_conn4": its pin'
rm -rf "$PINS"/lb_* "$PINS"/meshlb_* "$PINS"/links
expect_mended 'all that has no other use' 'map "lb_conn4": its pin'
if [[ -d $PINS/links ]]; then # not with clsact
	rm -r "$PINS/links"
	expect_mended 'the directory of the links' 'eth0.*lost'
fi

if [[ -d $PINS/links ]]; then
	kind=$(cd "$PINS/links" && printf '%s\n' *-eth0 | head -n 1)
	kind=${kind%-eth0}
	mv "$PINS/links/$kind-eth0" "$PINS/links/away"
	mv "$PINS/links/$kind-r1" "$PINS/links/$kind-eth0"
	mv "$PINS/links/away" "$PINS/links/$kind-r1"
	expect_mended 'links under each other'"'"'s names' 'eth0'
fi

step 'maps that are lost for good: only apply makes an instance anew, and says what that costs'
rings=$(bpftool -j map show pinned "$PINS/lb_rings" | jq .id)
rm -rf "$PINS"/lb_rings "$PINS"/lb_config "$PINS"/links "$PINS"/meshlb_* "$PINS"/slow-* \
	"$PINS"/connections
lab_in node1 tc qdisc del dev eth0 clsact 2>/dev/null || true
lab_in node1 tc qdisc del dev r1 clsact 2>/dev/null || true
lab_in node1 tc qdisc del dev r2 clsact 2>/dev/null || true
is_freed() { ! bpftool map show id "$1"; }
lab_until 10 is_freed "$rings"
before=$(ls "$PINS")
expect 1 lab_meshlb backend drain vote 10.0.1.2:80
expect_text "$ERR" 'its map "lb_.*" is lost'
expect 1 lab_meshlb conn flush
expect 1 verify
equal 'what is there after commands that failed' "$(ls "$PINS")" "$before"
expect 0 apply
expect_text "$ERR" 'connections that it had are lost'
expect 0 verify
expect_alternation 4 2
expect 0 lab_meshlb down
[[ ! -e $PINS ]] || fail 'down leaves something'

step 'what is not meshlb'"'"'s: down and apply refuse, and neither takes anything away'
expect 0 apply
mkdir "$PINS/theirs"
expect 1 lab_meshlb down
expect_text "$ERR" 'in it is a directory "theirs"'
expect_alternation 4 2
rmdir "$PINS/theirs"
read_only() {
	nsenter --net="/run/netns/$LAB-node1" -- unshare --mount bash -c \
		'mount --bind /sys/fs/bpf /sys/fs/bpf && mount -o remount,bind,ro /sys/fs/bpf && exec "$@"' \
		- "$MESHLB" --instance "$LAB" "$@"
}
expect 1 read_only down
expect_text "$ERR" "removing \"$PINS\": Read-only file system"
expect 0 verify
expect_alternation 4 2
expect 0 lab_meshlb down
mkdir -p "$LAB_DIR/precious/links" "${PINS%/*}"
touch "$LAB_DIR"/precious/{file,links/file}
ln -s "$LAB_DIR/precious" "$PINS"
for command in "apply -f $CONFIG" down; do
	# shellcheck disable=SC2086
	expect 1 lab_meshlb $command
	expect_text "$ERR" "\"$PINS\": it should be a directory of bpffs itself"
done
rm "$PINS"
mkdir "$PINS"
ln -s "$LAB_DIR/precious/links" "$PINS/links"
expect 0 apply
expect 0 lab_meshlb down
equal 'what was not in bpffs' "$(cd "$LAB_DIR/precious" && find . -type f | sort | xargs)" \
	'./file ./links/file'
