# SPDX-License-Identifier: Apache-2.0
# Test Anything Protocol for all tests in shell; to be sourced. tap.py is the same for Python.
#
#	plan 3			first, where the number is known; else done_testing prints it
#	check 'it runs' COMMAND...
#	done_testing		last: its status is the test's
#
# shellcheck shell=bash
tests=0
failures=0
why=		# what is shown below the next "not ok"
planned=

plan() {	# NUMBER
	planned=$1
	echo "1..$1"
}

ok() {		# NAME
	tests=$((tests + 1))
	why=
	printf 'ok %d - %s\n' "$tests" "$*"
}

not_ok() {	# NAME, the reason in $why
	tests=$((tests + 1))
	failures=$((failures + 1))
	printf 'not ok %d - %s\n' "$tests" "$*"
	[[ -z $why ]] || printf '%s\n' "$why" | sed 's/^/# /'
	why=
}

result() {	# STATUS NAME [REASON]: for a verdict that is there already
	if [[ $1 == 0 ]]; then
		ok "$2"
	else
		why=${3:-}
		not_ok "$2"
	fi
}

skip() {	# NAME REASON
	tests=$((tests + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tests" "$1" "$2"
}

skip_all() {	# REASON
	printf '1..0 # SKIP %s\n' "$*"
	exit 77
}

# check NAME COMMAND...: ok if the command succeeds; what it says is shown if it doesn't.
check() {
	local name=$1 status=0
	shift
	why=$("$@" 2>&1) || status=$?
	result "$status" "$name" "$why"
}

# refuses NAME TEXT COMMAND...: ok if the command fails with exit status 1 and says TEXT on stderr.
refuses() {
	local name=$1 text=$2 status=0
	shift 2
	why=$("$@" 2>&1 > /dev/null < /dev/null) || status=$?
	if [[ $status -eq 1 && $why == *"$text"* ]]; then
		ok "$name"
	else
		why="exit status $status, stderr: $why"
		not_ok "$name"
	fi
}

not() { ! "$@"; }

is() {		# NAME GOT WANTED
	if [[ $2 == "$3" ]]; then
		ok "$1"
	else
		why="got:    $2
wanted: $3"
		not_ok "$1"
	fi
}

done_testing() {
	[[ -n $planned ]] || printf '1..%d\n' "$tests"
	[[ $failures -eq 0 && ${planned:-$tests} -eq $tests ]]
}
