// SPDX-License-Identifier: Apache-2.0
// client ROAD SOCKET [agent | streams ROOTFS]: calls the agent as Kata's own runtimes do, with the libraries they use.
//
//	grpc   gRPC-Go on a unix socket            (1.x on vsock)
//	yamux  gRPC-Go in hashicorp/yamux streams  (1.x on virtio-serial, kata-proxy's part included)
//	ttrpc  containerd/ttrpc on a unix socket   (2.x, 3.x)
//
// Without "agent" the other side is tests/wire/server and the roads are tried hard; with it the other
// side is a kata-agent without a sandbox; with "streams" one that makes containers (streams.go). Prints TAP.
package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/hashicorp/yamux"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "agentpb"
)

const agentService = "grpc.AgentService"

// A connection of either kind.
type caller interface {
	call(ctx context.Context, service, method string, req, resp interface{}) error
	Close() error
}

type grpcConn struct{ *grpc.ClientConn }

func (c grpcConn) call(ctx context.Context, service, method string, req, resp interface{}) error {
	return c.Invoke(ctx, "/"+service+"/"+method, req, resp)
}

type ttrpcConn struct{ *ttrpc.Client }

func (c ttrpcConn) call(ctx context.Context, service, method string, req, resp interface{}) error {
	return c.Call(ctx, service, method, req, resp)
}

func dialGRPC(dial func() (net.Conn, error)) (caller, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := grpc.DialContext(ctx, "vsock://3:1024", grpc.WithInsecure(), grpc.WithBlock(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return dial() }),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	return grpcConn{c}, err
}

var (
	road, path string
	session    *yamux.Session
)

func unix() (net.Conn, error) { return net.Dial("unix", path) }

func dial() (caller, error) {
	switch road {
	case "grpc":
		return dialGRPC(unix)
	case "yamux":
		return dialGRPC(func() (net.Conn, error) { return session.Open() })
	}
	c, err := unix()
	if err != nil {
		return nil, err
	}
	return ttrpcConn{ttrpc.NewClient(c)}, nil
}

func code(err error) codes.Code { return status.Code(err) }

func want(err error, c codes.Code, text string) error {
	if code(err) != c || !strings.Contains(status.Convert(err).Message(), text) {
		return fmt.Errorf("got %v, want code %v and %q", err, c, text)
	}
	return nil
}

func check(c caller) error {
	var resp pb.HealthCheckResponse

	err := c.call(context.Background(), "grpc.Health", "Check", &pb.CheckRequest{}, &resp)
	if err == nil && resp.Status != 1 {
		err = fmt.Errorf("health is %v", resp.Status)
	}
	return err
}

func read(c caller, n int) error {
	var resp pb.ReadStreamResponse

	err := c.call(context.Background(), agentService, "ReadStdout", &pb.ReadStreamRequest{Len: uint32(n)}, &resp)
	if err != nil {
		return err
	}
	if len(resp.Data) != n {
		return fmt.Errorf("%d bytes instead of %d", len(resp.Data), n)
	}
	for i, b := range resp.Data {
		if b != byte(i*7+i/256) {
			return fmt.Errorf("byte %d is %d", i, b)
		}
	}
	return nil
}

func write(c caller, n int) error {
	var resp pb.WriteStreamResponse

	err := c.call(context.Background(), agentService, "WriteStdin",
		&pb.WriteStreamRequest{ContainerId: "c", ExecId: "e", Data: bytes.Repeat([]byte{7}, n)}, &resp)
	if err == nil && int(resp.Len) != n {
		err = fmt.Errorf("%d bytes arrived of %d", resp.Len, n)
	}
	return err
}

func each(n int, fn func(int) error) error {
	var wg sync.WaitGroup
	errs := make(chan error, n)

	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			errs <- fn(i)
		}(i)
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func parked(c caller) error {
	other, err := dial()
	if err != nil {
		return err
	}
	defer other.Close()
	time.AfterFunc(300*time.Millisecond, func() {
		_ = other.call(context.Background(), agentService, "SignalProcess", &pb.SignalProcessRequest{Signal: 15},
			&pb.ReadStreamRequest{})
	})
	return each(100, func(int) error {
		var resp pb.WaitProcessResponse

		err := c.call(context.Background(), agentService, "WaitProcess", &pb.WaitProcessRequest{}, &resp)
		if err == nil && resp.Status != 15 {
			err = fmt.Errorf("status %d", resp.Status)
		}
		return err
	})
}

func deadline(c caller) error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	err := c.call(ctx, agentService, "WaitProcess", &pb.WaitProcessRequest{}, &pb.WaitProcessResponse{})
	if err == nil || (code(err) != codes.DeadlineExceeded && err != context.DeadlineExceeded) {
		return fmt.Errorf("got %v", err)
	}
	return check(c)
}

func cancelled(c caller) error {
	err := each(1500, func(i int) error {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(time.Duration(50+i%50)*time.Millisecond, cancel)
		err := c.call(ctx, agentService, "WaitProcess", &pb.WaitProcessRequest{}, &pb.WaitProcessResponse{})
		if err == nil {
			return fmt.Errorf("no error after cancel")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return check(c)
}

func connections() error {
	return each(100, func(i int) error {
		c, err := dial()
		if err != nil {
			return err
		}
		defer c.Close()
		if err := check(c); err != nil {
			return err
		}
		return read(c, 10000+i)
	})
}

// An error's words reach the client whole.
func words(c caller) error {
	err := c.call(context.Background(), "grpc.Health", "Version", &pb.CheckRequest{}, &pb.VersionCheckResponse{})
	return want(err, codes.Unimplemented, "100% grün\n")
}

func unknown(c caller) error {
	err := c.call(context.Background(), agentService, "Nothing", &pb.CheckRequest{}, &pb.CheckRequest{})
	if code(err) != codes.Unimplemented {
		return fmt.Errorf("method: %v", err)
	}
	err = c.call(context.Background(), "no.Service", "Check", &pb.CheckRequest{}, &pb.CheckRequest{})
	if code(err) != codes.Unimplemented && code(err) != codes.InvalidArgument {
		return fmt.Errorf("service: %v", err)
	}
	return nil
}

func tooBig(c caller) error {
	err := write(c, 5<<20)
	if err == nil || strings.Contains(err.Error(), "arrived") {
		return fmt.Errorf("got %v", err)
	}
	return check(c)
}

// Pings of the proxy are answered while answers stand still.
func pings() error {
	for i := 0; i < 100; i++ {
		if _, err := session.Ping(); err != nil {
			return err
		}
	}
	return nil
}

// One stream is not read; others go on.
func slowReader(caller) error {
	s, err := session.Open()
	if err != nil {
		return err
	}
	defer s.Close()
	// A ttrpc request for 1 MiB: more than the window.
	req := []byte("\x0a\x11grpc.AgentService\x12\x0aReadStdout\x1a\x04\x18\x80\x80\x40")
	if _, err = s.Write(append([]byte{0, 0, 0, byte(len(req)), 0, 0, 0, 1, 1, 0}, req...)); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	if err := pings(); err != nil {
		return err
	}
	return connections()
}

func shortStreams(caller) error {
	for i := 0; i < 10000; i++ {
		s, err := session.Open()
		if err != nil {
			return fmt.Errorf("stream %d: %v", i, err)
		}
		if err = s.Close(); err != nil {
			return fmt.Errorf("stream %d: %v", i, err)
		}
	}
	return pings()
}

func agentDetails(c caller) error {
	var resp pb.GuestDetailsResponse

	err := c.call(context.Background(), agentService, "GetGuestDetails",
		&pb.GuestDetailsRequest{MemBlockSize: true, MemHotplugProbe: true}, &resp)
	if err == nil && (resp.AgentDetails == nil || resp.AgentDetails.Version == "") {
		err = fmt.Errorf("no details: %v", resp)
	}
	return err
}

func agentVersion(c caller) error {
	var resp pb.VersionCheckResponse

	err := c.call(context.Background(), "grpc.Health", "Version", &pb.CheckRequest{}, &resp)
	if err == nil && (resp.GrpcVersion != "0.0.1" || resp.AgentVersion == "") {
		err = fmt.Errorf("%v", resp)
	}
	return err
}

func agentInterfaces(c caller) error {
	var resp pb.Interfaces

	err := c.call(context.Background(), agentService, "ListInterfaces", &pb.ListInterfacesRequest{}, &resp)
	for _, i := range resp.Interfaces {
		if i.Name == "lo" {
			return err
		}
	}
	return fmt.Errorf("no lo in %v (%v)", resp.Interfaces, err)
}

func agentNoContainer(c caller) error {
	err := c.call(context.Background(), agentService, "StatsContainer",
		&pb.StatsContainerRequest{ContainerId: "nobody"}, &pb.StatsContainerResponse{})
	if err == nil || !strings.Contains(err.Error(), "nobody") && !strings.Contains(err.Error(), "container") {
		return fmt.Errorf("got %v", err)
	}
	return nil
}

func agentMetrics(c caller) error {
	var resp pb.Metrics

	err := c.call(context.Background(), agentService, "GetMetrics", &pb.GetMetricsRequest{}, &resp)
	for _, name := range []string{"kata_agent_threads 1\n", "kata_guest_meminfo{item=\"mem_total\"}"} {
		if err == nil && !strings.Contains(resp.Metrics, name) {
			err = fmt.Errorf("no %q in %d bytes", name, len(resp.Metrics))
		}
	}
	return err
}

type test struct {
	name string
	fn   func(caller) error
}

func tests() []test {
	if len(os.Args) > 4 && os.Args[3] == "streams" {
		return streamTests(os.Args[4])
	}
	if len(os.Args) > 3 {
		return []test{
			{"health", check},
			{"version", agentVersion},
			{"guest details", agentDetails},
			{"interfaces", agentInterfaces},
			{"no such container", agentNoContainer},
			{"metrics", agentMetrics},
			{"unknown method and service", unknown},
			{"a thousand calls at once", func(c caller) error { return each(1000, func(int) error { return check(c) }) }},
		}
	}
	all := []test{
		{"health", check},
		{"words of an error", words},
		{"unknown method and service", unknown},
		{"1 MiB to us", func(c caller) error { return read(c, 1<<20) }},
		{"3 MB from us", func(c caller) error { return write(c, 3000000) }},
		{"message too big", tooBig},
		{"a thousand calls at once", func(c caller) error { return each(1000, func(i int) error { return read(c, i) }) }},
		{"big ones at once", func(c caller) error {
			return each(40, func(i int) error {
				if i%2 == 0 {
					return read(c, 1<<20)
				}
				return write(c, 1<<20)
			})
		}},
		{"parked calls", parked},
		{"deadline", deadline},
		{"cancellation", cancelled},
		{"many connections", func(caller) error { return connections() }},
	}
	if road == "yamux" {
		all = append(all, test{"pings", func(caller) error { return pings() }}, test{"a slow reader", slowReader},
			test{"10000 short streams", shortStreams})
	}
	return all
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client grpc|yamux|ttrpc SOCKET [agent | streams ROOTFS]")
		os.Exit(2)
	}
	road, path = os.Args[1], os.Args[2]
	if road == "yamux" {
		conn, err := unix()
		if err != nil {
			fmt.Println("Bail out!", err)
			os.Exit(1)
		}
		// As kata-proxy has it.
		config := yamux.DefaultConfig()
		config.EnableKeepAlive = false
		config.ConnectionWriteTimeout = time.Second * 10
		config.LogOutput = os.Stderr
		session, err = yamux.Client(conn, config)
		if err != nil {
			fmt.Println("Bail out!", err)
			os.Exit(1)
		}
	}
	c, err := dial()
	if err != nil {
		fmt.Println("Bail out!", err)
		os.Exit(1)
	}
	failed := 0
	all := tests()
	for i, t := range all {
		start := time.Now()
		if err := t.fn(c); err != nil {
			failed++
			fmt.Printf("not ok %d - %s: %s\n# %.500v\n", i+1, road, t.name, err)
			continue
		}
		fmt.Printf("ok %d - %s: %s (%d ms)\n", i+1, road, t.name, time.Since(start).Milliseconds())
	}
	fmt.Printf("1..%d\n", len(all))
	if failed > 0 {
		os.Exit(1)
	}
}
