#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# agent-ctl's manual page and its completion for bash, both from what agent-ctl --help and agent-ctl COMMAND --help print,
# which is its own tables.
# Usage: help.sh man|completion AGENT-CTL VERSION DATE     DATE as it is to stand in the page
set -euo pipefail
export LC_ALL=C
what=$1 ctl=$2 version=$3 date=$4
unset AGENT_CTL_ADDR AGENT_CTL_PROTOCOL AGENT_CTL_WAIT AGENT_CTL_SHARED

commands() { "$ctl" --help | awk '/^commands:$/ { on = 1; next } /^$/ { if (on) exit } on { print $1 }'; }
# Words that begin with - in the list of options of a text.
options() { grep -o -E '^  (-[a-z], |    )--[a-z0-9-]+' | grep -o -E -- '--[a-z0-9-]+' | sort -u | tr '\n' ' ' | sed 's/ $//'; }
# Text of a page: no character means anything.
plain() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\&\\1/"; }
# "  -a, --addr ADDRESS    text" to a paragraph with a tag.
tagged() { sed -n -E 's/^ +(-[^ ]*|[a-z][^ ]*)(( [^ ]+)*) +/\1\2\t/p' | plain | awk -F '\t' '{ printf ".TP\n\\fB%s\\fR\n%s\n", $1, $2 }'; }
section() { awk -v s="$1" '$0 == s { on = 1; next } /^$/ { on = 0 } on'; } # the lines below a title, to the next empty one

man() {
	cat <<END
.\\" Made by tools/dist/help.sh from agent-ctl --help.
.TH AGENT\\-CTL 1 "$date" "kata\\-agent $version" "Kata Containers"
.SH NAME
agent\\-ctl \\- run containers in a guest and talk to its kata\\-agent
.SH SYNOPSIS
.B agent\\-ctl
[OPTIONS] COMMAND [ARGUMENTS]
.SH DESCRIPTION
The client of the agent that runs in the virtual machines of Kata Containers, for gRPC and ttrpc, over vsock, a serial
port or a socket. It runs OCI bundles in a guest, makes any call of the agent's, and measures.
.SH OPTIONS
They may also stand after the command.
END
	"$ctl" --help | section 'options (also after the command):' | tagged
	echo '.SH COMMANDS'
	local c
	for c in $(commands); do
		local text
		text=$("$ctl" "$c" --help)
		printf '.SS %s\n' "$(sed -n 's/^usage: agent-ctl \[OPTIONS\] //p' <<<"$text" | plain)"
		sed -n 3p <<<"$text" | plain
		section 'options:' <<<"$text" | tagged
	done
	cat <<'END'
.SH EXIT STATUS
That of the container's process, for commands that run one; 125 where agent\-ctl or the agent failed.
.SH ENVIRONMENT
AGENT_CTL_ADDR, AGENT_CTL_PROTOCOL, AGENT_CTL_WAIT and AGENT_CTL_SHARED stand for the options that name them.
END
}

completion() {
	local c
	cat <<END
# Completion for agent-ctl $version. Made by tools/dist/help.sh from agent-ctl --help.
# shellcheck shell=bash
_agent_ctl() {
	local word command='' i global='$("$ctl" --help | options)' own=''
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=\${COMP_WORDS[i]}
		case \$word in
		-a | --addr | --protocol | --timeout | --wait) i=\$((i + 1)) ;;
		-*) ;;
		*)
			command=\$word
			break
			;;
		esac
	done
	case \$command in
	'') own='$(commands | tr '\n' ' ' | sed 's/ $//')' ;;
END
	for c in $(commands); do
		printf "\t%s) own='%s' ;;\n" "$c" "$("$ctl" "$c" --help | section options: | options)"
	done
	cat <<'END'
	esac
	if [[ ${COMP_WORDS[COMP_CWORD]} == -* || -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$global $own" -- "${COMP_WORDS[COMP_CWORD]}")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
	fi
}
complete -F _agent_ctl agent-ctl
END
}

case $what in
man | completion) "$what" ;;
*)
	sed -n 's/^# Usage: /usage: /p' "$0" >&2
	exit 2
	;;
esac
