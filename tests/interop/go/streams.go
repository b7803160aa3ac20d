// SPDX-License-Identifier: Apache-2.0
// A process's output copied as Kata's Go shims copy it: up to 3.26 until an error comes, later until an
// empty answer does. The agent has root and a file system for containers; it speaks ttrpc.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	pb "agentpb"
)

// As the shim's iostream has it: io.CopyBuffer reads from it.
type output struct {
	c              caller
	method         string
	container, eid string
	emptyEnds      bool // 3.27 and later
	empty          int
}

func (o *output) Read(p []byte) (int, error) {
	var resp pb.ReadStreamResponse

	err := o.c.call(context.Background(), agentService, o.method,
		&pb.ReadStreamRequest{ContainerId: o.container, ExecId: o.eid, Len: uint32(len(p))}, &resp)
	if err != nil {
		return 0, err
	}
	if len(resp.Data) > len(p) {
		return 0, fmt.Errorf("%d bytes, more than %d", len(resp.Data), len(p))
	}
	if len(resp.Data) == 0 {
		o.empty++
		if o.emptyEnds {
			return 0, io.EOF
		}
		if o.empty > 1000 {
			return 0, fmt.Errorf("it spins: an empty answer a thousand times")
		}
	}
	return copy(p, resp.Data), nil
}

type copied struct {
	data  []byte
	empty int
}

// What comes of one output up to its end, or an error when there is none in time.
func (o *output) copyAll() func() (copied, error) {
	done := make(chan copied, 1)

	go func() {
		var b bytes.Buffer
		// The shim passes such a buffer and ignores the error.
		_, _ = io.CopyBuffer(&b, struct{ io.Reader }{o}, make([]byte, 32<<10))
		done <- copied{b.Bytes(), o.empty}
	}()
	return func() (copied, error) {
		select {
		case c := <-done:
			return c, nil
		case <-time.After(10 * time.Second):
			return copied{}, fmt.Errorf("%s does not end", o.method)
		}
	}
}

type life struct {
	name           string
	script         string
	stdin          string
	terminal, late bool
	stdout, stderr string
	status         int32
}

var lives = []life{
	{"output of both kinds", "echo out; echo err >&2; exit 3", "", false, false, "out\n", "err\n", 3},
	{"none at all", "exit 4", "", false, false, "", "", 4},
	{"a reader that comes late", "echo out; echo err >&2", "", false, true, "out\n", "err\n", 0},
	{"stdin to its end", "cat; exit 5", "some\nlines\n", false, false, "some\nlines\n", "", 5},
	{"a terminal", "echo out; exit 6", "", true, false, "out\r\n", "", 6},
	{"a terminal without output", "exit 7", "", true, false, "", "", 7},
	{"a terminal, late", "echo out; exit 8", "", true, true, "out\r\n", "", 8},
}

func process(l life) *pb.Process {
	return &pb.Process{Args: []string{"sh", "-c", l.script}, Env: []string{"PATH=/bin"}, Cwd: "/", Terminal: l.terminal,
		User: &pb.User{}}
}

func spec(l life, rootfs string) *pb.Spec {
	return &pb.Spec{Version: "1.0.2", Root: &pb.Root{Path: rootfs}, Process: process(l),
		Mounts: []*pb.Mount{
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs"},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666"}}},
		Linux: &pb.Linux{Namespaces: []*pb.LinuxNamespace{{Type: "mount"}}}}
}

func empty() *pb.WaitProcessRequest { return &pb.WaitProcessRequest{} }

// From the start of the process, which start brings about, to its status.
func follow(c caller, l life, cid, eid string, emptyEnds bool, start func() error) error {
	ids := func(method string) *output {
		return &output{c: c, method: method, container: cid, eid: eid, emptyEnds: emptyEnds}
	}
	var out, errs func() (copied, error)
	listen := func() {
		out = ids("ReadStdout").copyAll()
		if !l.terminal {
			errs = ids("ReadStderr").copyAll()
		}
	}
	before := cid == eid && !l.late // of an init the shim reads before it starts it

	if before {
		listen()
	}
	if err := start(); err != nil {
		return err
	}
	if !before && !l.late {
		listen()
	}
	if l.stdin != "" {
		if err := c.call(context.Background(), agentService, "WriteStdin", &pb.WriteStreamRequest{
			ContainerId: cid, ExecId: eid, Data: []byte(l.stdin)}, &pb.WriteStreamResponse{}); err != nil {
			return err
		}
		if err := c.call(context.Background(), agentService, "CloseStdin", &pb.CloseStdinRequest{
			ContainerId: cid, ExecId: eid}, empty()); err != nil {
			return err
		}
	}
	if l.late {
		time.Sleep(200 * time.Millisecond)
		listen()
	}
	got, err := out()
	if err != nil {
		return err
	}
	if string(got.data) != l.stdout || got.empty > 1 {
		return fmt.Errorf("stdout is %q after %d empty answers, want %q", got.data, got.empty, l.stdout)
	}
	if errs != nil {
		if got, err = errs(); err != nil {
			return err
		}
		if string(got.data) != l.stderr || got.empty > 1 {
			return fmt.Errorf("stderr is %q after %d empty answers, want %q", got.data, got.empty, l.stderr)
		}
	}
	var w pb.WaitProcessResponse
	if err := c.call(context.Background(), agentService, "WaitProcess",
		&pb.WaitProcessRequest{ContainerId: cid, ExecId: eid}, &w); err != nil {
		return err
	}
	if w.Status != l.status {
		return fmt.Errorf("status is %d, want %d", w.Status, l.status)
	}
	return nil
}

func ofInit(l life, rootfs string, emptyEnds bool) func(caller) error {
	return func(c caller) error {
		const cid = "streams"
		ctx := context.Background()
		if err := c.call(ctx, agentService, "CreateContainer", &pb.CreateContainerRequest{
			ContainerId: cid, ExecId: cid, OCI: spec(l, rootfs)}, empty()); err != nil {
			return err
		}
		err := follow(c, l, cid, cid, emptyEnds, func() error {
			return c.call(ctx, agentService, "StartContainer", &pb.StartContainerRequest{ContainerId: cid}, empty())
		})
		gone := c.call(ctx, agentService, "RemoveContainer", &pb.RemoveContainerRequest{ContainerId: cid}, empty())
		if err == nil {
			err = gone
		}
		return err
	}
}

func ofExec(l life, eid string, emptyEnds bool) func(caller) error {
	return func(c caller) error {
		return follow(c, l, "kept", eid, emptyEnds, func() error {
			return c.call(context.Background(), agentService, "ExecProcess", &pb.ExecProcessRequest{
				ContainerId: "kept", ExecId: eid, Process: process(l)}, empty())
		})
	}
}

// A container that stays for the execs.
func keep(rootfs string) func(caller) error {
	return func(c caller) error {
		ctx := context.Background()
		if err := c.call(ctx, agentService, "CreateContainer", &pb.CreateContainerRequest{ContainerId: "kept", ExecId: "kept",
			OCI: spec(life{script: "exec sleep 1000"}, rootfs)}, empty()); err != nil {
			return err
		}
		return c.call(ctx, agentService, "StartContainer", &pb.StartContainerRequest{ContainerId: "kept"}, empty())
	}
}

func streamTests(rootfs string) []test {
	all := []test{{"a container for execs", keep(rootfs)}}

	for _, shim := range []struct {
		name      string
		emptyEnds bool
	}{{"3.26", false}, {"3.27", true}} {
		for i, l := range lives {
			all = append(all, test{"shim " + shim.name + ", init: " + l.name, ofInit(l, rootfs, shim.emptyEnds)},
				test{"shim " + shim.name + ", exec: " + l.name,
					ofExec(l, fmt.Sprintf("%s-%d", shim.name, i), shim.emptyEnds)})
		}
	}
	return append(all, test{"the end", func(c caller) error {
		return c.call(context.Background(), agentService, "DestroySandbox", &pb.DestroySandboxRequest{}, empty())
	}})
}
