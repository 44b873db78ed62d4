package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/managedid/managedid/managedidtest"
)

// run starts the child process, injects faults around it, and prints the results.
func run(seed uint64, duration time.Duration) (violated bool, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.SetOutput(io.Discard) // net/http logs each TLS handshake that a caller aborted
	v := &violations{count: map[string]int{}}
	imds, entra, err := newEndpoints()
	if err != nil {
		return false, err
	}
	defer imds.server.Close()
	defer entra.server.Close()
	proxy := newProxy(v)
	defer proxy.Close()
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	roots := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(roots, entra.server.CertificatePEM(), 0o600); err != nil {
		return false, err
	}
	c, err := startChild(childEnviron(seed, imds.server, entra.server, proxy.URL, roots))
	if err != nil {
		return false, err
	}
	defer c.kill()
	fmt.Printf("seed %d, schedule %s, %v with %d goroutines, %d resources and %d credentials\n",
		seed, fingerprint(seed), duration, callers, resources, credentialKinds)
	res, suspended, err := c.runFaults(ctx, seed, duration, imds, entra)
	if err != nil {
		v.add("the process lives", "%v", err)
	}
	all := v.counts()
	maps.Copy(all, res.Violations)
	summarize(res, suspended, imds, entra, all)
	return len(all) > 0, nil
}

// newEndpoints starts the two emulators.
func newEndpoints() (imds, entra *faultyEndpoint, err error) {
	imds, err = newEndpoint(imdsName, managedidtest.IMDS,
		managedidtest.Options{TokenLifetime: imdsLifetime, UserAssigned: make([]managedidtest.Identity, 1)})
	if err == nil {
		entra, err = newEndpoint(entraName, managedidtest.Entra, managedidtest.Options{TokenLifetime: entraLifetime})
	}
	return imds, entra, err
}

// summarize prints the results.
func summarize(res result, suspended int, imds, entra *faultyEndpoint, violations map[string]int) {
	calls := 0
	for _, n := range res.Calls {
		calls += n
	}
	fmt.Printf("calls: %d: %s\n", calls, listed(res.Calls))
	fmt.Printf("requests: %s\n", listed(res.Requests))
	for _, s := range []*faultyEndpoint{imds, entra} {
		fmt.Printf("faults at %s, which met %d requests: %s\n", s.endpoint, s.met.Load(), listed(s.played))
	}
	fmt.Printf("suspensions: %d\n", suspended)
	fmt.Printf("calls with %v at an endpoint that has been healthy for %v: %v\n", callTime, recovery,
		res.Steady[healthy])
	fmt.Printf("the same where 2 %% of answers are lost: %v\n", res.Steady[losing])
	fmt.Printf("swarms of %d calls: %d, with %d requests\n", swarm, res.Swarms, res.SwarmRequests)
	fmt.Printf("dropped credentials: %d\n", res.Dropped)
	fmt.Printf("requests whose transport misbehaved: %s\n", listed(res.Misbehaved))
	fmt.Printf("requests beside a silent one: %d\n", res.Hedges)
	fmt.Printf("least heap in the first third of the time: %d KiB; in the last: %d KiB\n", res.First>>10, res.Last>>10)
	fmt.Printf("before: %v; after: %v\n", res.Before, res.After)
	fmt.Printf("violations: %s\n", listed(violations))
}

// childEnviron returns the environment of a virtual machine, with a proxy that no request may use.
func childEnviron(seed uint64, imds, entra *managedidtest.Server, proxy, roots string) []string {
	app := entra.Applications()[0]
	config, _ := json.Marshal(childConfig{
		Seed: seed, TenantID: entra.TenantID(), Secret: app.Secrets[0].Value,
		ClientIDs: [credentialKinds]string{
			systemAssigned: imds.SystemAssigned().ClientID,
			userAssigned:   imds.UserAssigned()[0].ClientID,
			application:    app.ClientID,
		},
	})
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(e), "=")
		if !strings.HasPrefix(name, "AZURE_") && !strings.HasSuffix(name, "_PROXY") {
			env = append(env, e)
		}
	}
	imdsURL, _ := url.Parse(imds.URL)
	return append(env, childVariable+"="+string(config), "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy,
		"SSL_CERT_FILE="+roots,
		"AZURE_AUTHORITY_HOST="+entra.AuthorityHost,
		// net/http uses no proxy for loopback addresses, such as Entra's here, and for the exact name "localhost".
		"AZURE_POD_IDENTITY_AUTHORITY_HOST=http://LOCALHOST:"+imdsURL.Port())
}

// child is the process in which the callers run.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

func startChild(env []string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = env, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &child{cmd, in, json.NewDecoder(out)}, cmd.Start()
}

// kill kills the process, unless it has ended.
func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		c.cmd.Process.Kill()
		c.cmd.Wait()
	}
}

// runFaults waits until the child is ready, injects faults for the duration, and returns the child's result and the
// number of suspensions.
func (c *child) runFaults(
	ctx context.Context, seed uint64, duration time.Duration, imds, entra *faultyEndpoint,
) (res result, suspended int, err error) {
	guard := time.AfterFunc(time.Minute, func() { c.cmd.Process.Kill() })
	defer func() { guard.Stop() }()
	var warm bool
	if err := c.answers.Decode(&warm); err != nil {
		return res, 0, fmt.Errorf("it was never ready: %w", err)
	}
	t := &reporter{ready: time.Now(), out: json.NewEncoder(c.in)}
	guard.Reset(duration + settlesIn + time.Minute)
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { imds.play(ctx, seed, imdsStream, t) })
	work.Go(func() { entra.play(ctx, seed, entraStream, t) })
	work.Go(func() { suspended = c.suspendAtTimes(ctx, seed) })
	played := make(chan struct{})
	go func() { work.Wait(); c.in.Close(); close(played) }()
	err = c.answers.Decode(&res)
	cancel()
	<-played
	if err == nil {
		err = c.cmd.Wait()
	} else {
		c.kill()
		err = fmt.Errorf("it told no result (%w) and ended: %v", err, c.cmd.ProcessState)
	}
	return res, suspended, err
}

// suspendAtTimes suspends and resumes the child at random times until ctx ends. It returns the number of suspensions.
func (c *child) suspendAtTimes(ctx context.Context, seed uint64) (times int) {
	r := stream(seed, suspensionStream)
	for {
		after, length := nextSuspension(r)
		if !sleep(ctx, after) || suspend(c.cmd.Process) != nil {
			return times
		}
		times++
		sleep(ctx, length)
		resume(c.cmd.Process)
	}
}
