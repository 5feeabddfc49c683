# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# lib.sh - sourced by every e2e script: a lab, assertions, and what to show when one fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
HOOK=${HOOK:-tc}
BUILD=${BUILD:-build}
# shellcheck source=scripts/lab.sh
. scripts/lab.sh
lab_begin
# shellcheck disable=SC2034
readonly CONFIG=$LAB_DIR/meshlb.yaml PINS=/sys/fs/bpf/meshlb/$LAB E2E=$PWD/tests/e2e

# Seconds for what takes a moment: the guest's emulated processor is some ten times slower. For commands:
# lab_until knows that by itself.
readonly MOMENT=$((${TEST_GUEST:-0} ? 30 : 5))

step() { printf -- '--- %s (%d s)\n' "$*" $SECONDS; }

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

skip() {
	printf 'skipped: %s\n' "$*"
	exit 77
}

lab_on_failure() {
	step 'what the instance says'
	lab_meshlb status
	lab_meshlb verify
	lab_meshlb stats
	lab_meshlb conn ls | head -n 20
} 2>&1

equal() { # WHAT ACTUAL EXPECTED
	[[ $2 == "$3" ]] || fail "$1: \"$2\" where \"$3\" was expected"
}

# The command must end with that exit code; its output is in $OUT, and $ERR.
expect() { # STATUS COMMAND...
	local status=0 wanted=$1
	shift
	"$@" >"$LAB_DIR/out" 2>"$LAB_DIR/err" || status=$?
	OUT=$(<"$LAB_DIR/out")
	ERR=$(<"$LAB_DIR/err")
	[[ $status == "$wanted" ]] ||
		fail "exit code $status, not $wanted, of: $*"$'\n'"$OUT"$'\n'"$ERR"
}

expect_text() { # TEXT PATTERN: an extended regular expression
	grep -qE -- "$2" <<<"$1" || fail "no match for /$2/ in:"$'\n'"$1"
}

# As one who lacks these capabilities: -bpf,-sys_admin.
lab_meshlb_without() { # CAPABILITIES ARGUMENT...
	local caps=$1
	shift
	lab_in node1 setpriv --bounding-set "$caps" --inh-caps "$caps" "$MESHLB" --instance "$LAB" "$@"
}

apply() { # [OPTION...]
	lab_meshlb apply -f "$CONFIG" "$@"
}

nft_in() { lab_in node1 nft "$@"; }

# What is in the kernel against the config that was applied.
verify() { # [OPTION...]
	lab_meshlb verify -f "$CONFIG" "$@"
}

# How many packets counted a reason, on both hooks.
reason() { # NAME
	lab_meshlb -j stats | jq --arg name "$1" '[.reasons[] | select(.name == $name) | .xdp + .tc] | add // 0'
}

# Ids of the programs on the hooks.
prog_ids() {
	lab_meshlb -j status | jq -c '[.. | .prog_id? // empty]'
}

# Does this kernel tell which interfaces have native XDP? From Linux 6.3 on.
kernel_tells_xdp() { [[ $(lab_meshlb probe) != *'native XDP '*' this kernel does not tell'* ]]; }

# Does this kernel let root load BPF iterators over maps? Under lockdown it may not.
kernel_has_tcx() { [[ $(printf '%s\n' 6.6 "$(uname -r)" | sort -V | head -n 1) == 6.6 ]]; }

kernel_has_iterators() {
	local pin=/sys/fs/bpf/$LAB-iterator
	bpftool prog load "$BUILD/tests/e2e/iterator.bpf.o" "$pin" &>/dev/null && rm "$pin"
}

# Prints the id of the replica that answers, as the issue's user sees it.
ask() { # 4|6 [URL]
	lab_as_user node2 curl -sS -m $MOMENT "-$1" "${2:-node1:8080}" |
		sed -n 's/.*processed by container id \([0-9a-f]\{12\}\).*/\1/p' | grep .
}

# Connections one after another must alternate strictly between two replicas.
expect_alternation() { # 4|6 TIMES [URL]
	local i id before='' first=''
	for ((i = 0; i < $2; i++)); do
		id=$(ask "$1" "${3:-node1:8080}") || fail "IPv$1: request $i was not answered"
		[[ $id != "$before" ]] || fail "IPv$1: $id answered twice in turn"
		case $i in
		0) first=$id ;;
		*) [[ $((i % 2)) == 1 || $id == "$first" ]] || fail "IPv$1: a third replica, $id" ;;
		esac
		before=$id
	done
	echo "IPv$1: $2 requests alternate between $first and $before"
}

# In the guest, whose own these are: a module that cannot be loaded any more, until it ends.
take_away() { # MODULE [PATTERN of the names of those that go; the beginning]
	mkdir -p /etc/modprobe.d
	printf 'install %s /bin/false\nblacklist %s\n' "$1" "$1" >>/etc/modprobe.d/meshlb-test.conf
	lab_until 20 modules_gone "${2:-$1}" || fail "$1 would not go: $(lsmod | grep "$1")"
}

modules_gone() { # PATTERN: those that use others first
	lsmod | awk -v name="^($1)" '$1 ~ name { print $1 }' | xargs -r modprobe -r &&
		! grep -qE "^($1)" <<<"$(lsmod)"
}

# Builds the sources, changed by a sed script in a file: $LAB_DIR/NAME/build/meshlb. What the change
# does not touch is not built again.
variant() { # NAME FILE SED_SCRIPT
	local tree=$LAB_DIR/$1
	mkdir -p "$tree/build"
	cp -a Makefile bpf include user scripts "$tree/"
	# Make goes by the times of files, and by their names, in which the folder is.
	[[ $BUILD != build ]] || cp -a build/vmlinux.h build/lb.* build/libmeshlb.a build/user "$tree/build/"
	sed -i "$3" "$tree/$2"
	! cmp -s "$2" "$tree/$2" || fail "the variant $1 changes nothing in $2"
	make -s -C "$tree" BUILD=build build >"$LAB_DIR/make.log" 2>&1 || fail "$(tail "$LAB_DIR/make.log")"
}

# An unbound on replica N: for who.test it answers with the replica's own addresses.
unbound() { # N
	local dir=$LAB_DIR/unbound-r$1
	mkdir -p "$dir"
	cat >"$dir/conf" <<-CONF
		server:
			do-daemonize: no
			username: ""
			chroot: ""
			directory: "$dir"
			pidfile: ""
			use-syslog: no
			interface: 0.0.0.0
			interface: ::0
			access-control: 0.0.0.0/0 allow
			access-control: ::0/0 allow
			module-config: "iterator"
			local-zone: "test." static
			local-data: "who.test. 0 A ${LAB_V4[$1 - 1]}"
			local-data: "who.test. 0 AAAA ${LAB_V6[$1 - 1]}"
	CONF
	lab_spawn "r$1" unbound -c "$dir/conf" 2>"$dir/log"
}

# The vote service over two replicas in a topology, and that it works; leaves it running.
vote_in() { # TOPOLOGY
	lab_topology "$1" 2
	lab_nginx r1 r2
	lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
	apply
	expect_alternation 4 8
	expect_alternation 6 8
	equal 'the client that nginx sees' "$(seen_client 4)" $CLIENT4
	equal 'the client that nginx sees' "$(seen_client 6)" $CLIENT6
	step '8 MiB through it'
	equal bytes "$(blob 4)" 8388608
	equal bytes "$(blob 6)" 8388608
	expect 0 verify
}

# The vote service, and a connection of each family that is held: $held4, $held6 answer there.
vote_held() {
	lab_topology direct 2
	lab_nginx r1 r2
	lab_service vote '*:8080' 80 | lab_config >"$CONFIG"
	apply
	# shellcheck disable=SC2034
	held4=$(hold_open h4 4)
	# shellcheck disable=SC2034
	held6=$(hold_open h6 6)
}

seen_client() { # 4|6
	lab_as_user node2 curl -sS -m $MOMENT "-$1" -D- -o /dev/null node1:8080 |
		tr -d '\r' | sed -n 's/^X-Client: //p'
}

blob() { # 4|6
	lab_as_user node2 curl -sS -m 20 "-$1" -o /dev/null -w '%{size_download}' node1:8080/blob
}

# A client that holds connections open: one line in, one HTTP request over the same connection out,
# which may take $HOLD_TIMEOUT seconds.
hold_open() { # NAME 4|6 [ADDRESS]
	local to=$VIP4
	[[ $2 == 4 ]] || to=$VIP6
	to=${3:-$to}
	mkfifo "$LAB_DIR/$1.in"
	: >"$LAB_DIR/$1.out"
	nsenter --net="/run/netns/$LAB-node2" -- "$E2E/hold.py" "$to" 8080 "${HOLD_TIMEOUT:-4}" \
		<>"$LAB_DIR/$1.in" >>"$LAB_DIR/$1.out" 2>&1 &
	LAB_PIDS+=($!)
	ask_held "$1"
}

ask_held() { # NAME: prints the id of the replica that the held connection reaches
	local lines
	lines=$(wc -l <"$LAB_DIR/$1.out")
	echo >"$LAB_DIR/$1.in"
	lab_until 5 eval "(( \$(wc -l <'$LAB_DIR/$1.out') > $lines ))" || fail "$1: no answer"
	tail -n 1 "$LAB_DIR/$1.out"
}

# Requests to node1 without a pause, by IPv4 and IPv6, until end_traffic; none may fail.
begin_traffic() { # PORT
	local address
	TRAFFIC=()
	for address in $VIP4 $VIP6; do
		lab_spawn node2 "$E2E/traffic.py" "$address" "$1" >"$LAB_DIR/traffic-$address" 2>&1
		TRAFFIC+=("$LAB_PID:$address")
	done
}

end_traffic() {
	local one log
	for one in "${TRAFFIC[@]}"; do
		log=$LAB_DIR/traffic-${one#*:}
		kill "${one%%:*}"
		wait "${one%%:*}" || true
		grep -qE '^answered [1-9][0-9]* failed 0$' "$log" ||
			fail "traffic to ${one#*:}:"$'\n'"$(tail -n 5 "$log")"
		echo "traffic to ${one#*:}: $(tail -n 1 "$log")"
	done
}

# Which replica serves each port, of both families: r1, r2, none, or mixed. One curl asks for all,
# and $REPLICAS[id] is the replica's name.
served_by() { # PORT...
	local port url id who
	local -a ask=() all=()
	local -A by=()
	for port; do
		ask+=("http://$VIP4:$port/" "http://[$VIP6]:$port/")
	done
	while read -r url id; do
		by[$url]=${id:+${REPLICAS[$id]:-mixed}}
	done < <(lab_in node2 curl -s -g -m $MOMENT -w 'from %{url}\n' "${ask[@]}" |
		sed 's/<[^>]*>//g' | awk '/container id/ { id = $NF } /^from/ { print $2, id; id = "" }')
	for port; do
		who=${by["http://$VIP4:$port/"]:-none}
		[[ $who == "${by["http://[$VIP6]:$port/"]:-none}" ]] || who=mixed
		all+=("$who")
	done
	echo "${all[*]}"
}

# The vote service on 8080, one for each other scheduler on 8081 to 8084 (10.0.1.2 has weight 3),
# and on 8085 one on the addresses, `bound`, beside one on any, `star`.
scheduler_services() {
	lab_service vote '*:8080' 80
	weighted turns "$VIP4:8081" 81 wrr
	weighted chance "$VIP4:8082" 81 random
	lab_service client "$VIP4:8083,[$VIP6]:8083" 82 sh
	lab_service flow "$VIP4:8084" 83 maglev
	lab_service bound "$VIP4:8085,[$VIP6]:8085" 80
	lab_service star '*:8085' 81
}

weighted() { # NAME LISTEN PORT SCHEDULER
	lab_service "$@" | sed -E 's|(10.0.1.2:[0-9]+)" }|\1", weight: 3 }|'
}

# How often r1 and r2 answer, of connections one after another; $REPLICAS[id] is the name.
who() { # PORT TIMES
	local -A answered=([r1]=0 [r2]=0)
	local -a urls
	local id
	mapfile -t urls < <(yes "http://$VIP4:$1/" | head -n "$2")
	while read -r id; do
		answered[${REPLICAS[$id]}]+=1
	done < <(lab_in node2 curl -sS -m 20 -H 'Connection: close' "${urls[@]}" |
		sed -n 's/.*container id \([0-9a-f]*\).*/\1/p')
	echo "${#answered[r1]} ${#answered[r2]}" # one digit longer each time, and one to begin with
}

change_to() { # DATAPATH: of $CONFIG; by an apply, after which it serves
	sed -i "s/^datapath: .*/datapath: $1/" "$CONFIG"
	expect 3 apply --dry-run
	expect 0 apply
	expect_text "$OUT" "^~ datapath [a-z]+ -> $1$"
	equal datapath "$(lab_meshlb -j status | jq -r .datapath)" "$1"
	expect 0 verify
	for _ in 1 2; do
		[[ $(ask 4) && $(ask 6) ]] || fail "on $1 nobody answers"
	done
}
