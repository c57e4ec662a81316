package containers_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"memberly/peer/types"
)

// impostorKey is set for a process that is not to run tests but to be an impostor: a program in a
// peer's place that is not a peer of this release.
const impostorKey = "MEMBERLY_IMPOSTOR"

// The impostors. One holds the port and sends nothing. The others speak an earlier wire version.
const (
	silentImpostor = "silent"
	earlierPeer    = "earlier-peer"
	earlierDoctor  = "earlier-doctor"
)

// earlierMessage is a message of an earlier wire version.
var earlierMessage = []byte{types.FirstVersion - 1, byte(types.Heartbeat), 0, 3}

// impersonate runs an impostor. It prints "ready" when it has begun, and returns only on failure.
func impersonate(kind string) error {
	listener, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			if kind == earlierPeer {
				types.ReadFrame(bufio.NewReader(c), nil)
				c.Close()
			}
		}
	}()
	if kind == silentImpostor {
		fmt.Println("ready")
		select {}
	}
	socket, err := net.ListenPacket("udp", ":8081")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for buf := make([]byte, 1500); ; {
		_, from, err := socket.ReadFrom(buf)
		if err != nil {
			return err
		}
		socket.WriteTo(earlierMessage, from)
		if host, _, _ := net.SplitHostPort(from.String()); kind == earlierDoctor {
			if c, err := net.DialTimeout("tcp", net.JoinHostPort(host, "8080"), slowStranger); err == nil {
				c.Write(append([]byte{0, 0, 0, byte(len(earlierMessage))}, earlierMessage...))
				c.Close()
			}
		}
	}
}

// impostor is the problem that an impostor runs on a host.
func impostor(host, kind string) problem {
	return func(w *cluster) (func() error, error) {
		ctx, end := context.WithCancel(w.ctx)
		self, err := os.Executable()
		if err != nil {
			end()
			return nil, err
		}
		c := w.in(ctx, host, "-n", self)
		c.Env = append(os.Environ(), impostorKey+"="+kind)
		said, ended := make(chan string, 16), make(chan struct{})
		go func() {
			follow(c, func(_ stream, text string) { said <- text }) // its end is no error: repair kills it
			close(ended)
		}()
		repair := func() error {
			end()
			<-ended
			return nil
		}
		select {
		case text := <-said:
			if !strings.Contains(text, "ready") {
				err = fmt.Errorf("the impostor in %s: %s", host, text)
			}
		case <-ended:
			err = fmt.Errorf("the impostor in %s has ended", host)
		}
		return repair, err
	}
}
