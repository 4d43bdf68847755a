// Echo in Go: a goroutine and a buffer for each connection, all on one processor.
//
// echo [--buffer BYTES]; prints its port. Go sets TCP_NODELAY by itself.
package main

import (
	"flag"
	"fmt"
	"net"
	"runtime"
)

func echo(conn net.Conn, size int) {
	defer conn.Close()
	buffer := make([]byte, size)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func main() {
	size := flag.Int("buffer", 1024, "bytes of each connection's buffer")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		go echo(conn, *size)
	}
}
