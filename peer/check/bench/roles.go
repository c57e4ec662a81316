//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"memberly/peer/config"
	"memberly/peer/network"
)

// roles are the other things that this program can do, in processes of their own, by first argument.
var roles = map[string]func(args []string){"peer": peer, "echo": echo, "flood": flood}

// peer runs the daemon, and prints when it calls the daemon's code.
func peer(args []string) {
	runtime.GOMAXPROCS(1) // as main does
	c, err := config.Parse(args, os.Hostname)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p, err := network.New(c, os.Stdout, os.Stderr)
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintf(os.Stderr, "called %d\n", time.Now().UnixNano())
	os.Exit(p.Run(context.Background()))
}

// bareSize is the size of a short message of the protocol.
const bareSize = 70

// echo dials its argument, sends back what it receives there, and prints when it began to dial.
func echo(args []string) {
	runtime.GOMAXPROCS(1)
	fmt.Printf("%d\n", time.Now().UnixNano())
	conn, err := net.Dial("tcp", args[0])
	if err != nil {
		os.Exit(1)
	}
	b := make([]byte, bareSize)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		conn.Write(b)
	}
}

// bare measures two round trips over TCP between this process and another one, and the same with the
// time since the other process began to dial.
func (m *meter) bare(name string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	other := exec.Command(self, "echo", l.Addr().String())
	said, err := other.StdoutPipe()
	if err != nil {
		return err
	}
	if err := other.Start(); err != nil {
		return err
	}
	defer other.Wait()
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	b, in := []byte(strings.Repeat("x", bareSize)), bufio.NewReader(conn)
	began := time.Now()
	for range 2 {
		conn.Write(b)
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
	}
	ended := time.Now()
	m.add(name, ended.Sub(began))
	var dialled int64
	fmt.Fscan(said, &dialled)
	m.add(name+", with the dialling before", ended.Sub(time.Unix(0, dialled)))
	return nil
}
