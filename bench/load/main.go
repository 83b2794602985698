// Command load puts one kind of load on an S3 endpoint for a bounded time and prints what it saw as one line of JSON.
//
// It is a closed loop: each of -clients asks again as soon as it was answered. Objects of put, mix and delete have fresh
// names; get reads objects that -prepare wrote. Bytes are random, so that compression gains nothing.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

type options struct {
	endpoint, accessKey, secretKey, bucket, cell string
	size                                         int64
	clients, objects                             int
	duration                                     time.Duration
}

// result is one cell's figures; times are milliseconds of whole requests, keys counts list entries.
type result struct {
	Cell       string  `json:"cell"`
	Size       int64   `json:"size"`
	Operations int64   `json:"operations"`
	Errors     int64   `json:"errors"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"per_second"`
	MiBPerSec  float64 `json:"mib_per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	FirstError string  `json:"first_error,omitempty"`
}

type loader struct {
	options
	nodes   []*minio.Client
	payload []byte
	next    atomic.Int64
	turn    atomic.Int64
}

func main() {
	var o options
	flag.StringVar(&o.endpoint, "endpoint", "127.0.0.1:9000", "host:port, or several with commas: requests go to each in turn")
	flag.StringVar(&o.bucket, "bucket", "bench", "made when absent")
	flag.StringVar(&o.cell, "cell", "put", "prepare, put, get, mix, list or delete")
	flag.Int64Var(&o.size, "size", 4096, "bytes of an object")
	flag.IntVar(&o.clients, "clients", 16, "requests at a time")
	flag.IntVar(&o.objects, "objects", 500, "objects to prepare, read, list or delete")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long (put, get, mix, list)")
	flag.Parse()
	o.accessKey, o.secretKey = os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	var nodes []*minio.Client
	for _, endpoint := range strings.Split(o.endpoint, ",") {
		client, err := minio.New(endpoint, &minio.Options{
			Creds:  credentials.NewStaticV4(o.accessKey, o.secretKey, ""),
			Region: "us-east-1",
			Transport: &http.Transport{
				MaxIdleConnsPerHost: o.clients, DisableCompression: true, ResponseHeaderTimeout: time.Minute,
			},
		})
		if err != nil {
			return err
		}
		nodes = append(nodes, client)
	}
	ctx, cancel := context.WithTimeout(context.Background(), o.duration+5*time.Minute)
	defer cancel()
	exists, err := nodes[0].BucketExists(ctx, o.bucket)
	if err != nil {
		return err
	}
	if !exists {
		if err := nodes[0].MakeBucket(ctx, o.bucket, minio.MakeBucketOptions{}); err != nil {
			return err
		}
	}
	l := &loader{options: o, nodes: nodes, payload: make([]byte, o.size)}
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(l.payload)
	l.next.Store(time.Now().UnixNano())
	return json.NewEncoder(os.Stdout).Encode(l.measure(ctx))
}

// measure runs the cell with all clients and gathers what they saw.
func (l *loader) measure(ctx context.Context) result {
	operation, bounded := l.operation()
	var taken, failed atomic.Int64
	var first atomic.Value
	latencies := make([][]float64, l.clients)
	start := time.Now()
	deadline := start.Add(l.duration)
	var group sync.WaitGroup
	for client := range l.clients {
		group.Go(func() {
			for {
				turn := taken.Add(1) - 1
				if bounded && turn >= int64(l.objects) || !bounded && time.Now().After(deadline) {
					return
				}
				began := time.Now()
				if err := operation(ctx, turn); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, err.Error())
					if failed.Load() > 100 {
						return
					}
					continue
				}
				latencies[client] = append(latencies[client], float64(time.Since(began).Microseconds())/1000)
			}
		})
	}
	group.Wait()
	seconds := time.Since(start).Seconds()
	all := slices.Concat(latencies...)
	slices.Sort(all)
	done := int64(len(all))
	r := result{Cell: l.cell, Size: l.size, Operations: done, Errors: failed.Load(), Seconds: seconds,
		PerSecond: float64(done) / seconds, MiBPerSec: float64(done) * float64(l.size) / seconds / (1 << 20)}
	if l.cell == "list" {
		r.PerSecond *= float64(l.objects)
	}
	if done > 0 {
		r.P50, r.P99 = all[done/2], all[done*99/100]
	}
	if text, ok := first.Load().(string); ok {
		r.FirstError = text
	}
	return r
}

// operation returns one request of the cell, and whether the cell ends by count and not by time.
func (l *loader) operation() (func(context.Context, int64) error, bool) {
	switch l.cell {
	case "prepare":
		return func(ctx context.Context, turn int64) error { return l.put(ctx, l.prepared(turn)) }, true
	case "delete":
		return func(ctx context.Context, turn int64) error {
			return l.node().RemoveObject(ctx, l.bucket, l.prepared(turn), minio.RemoveObjectOptions{})
		}, true
	case "put":
		return func(ctx context.Context, _ int64) error { return l.put(ctx, l.fresh()) }, false
	case "get":
		return l.get, false
	case "mix": // seven reads to three writes
		return func(ctx context.Context, turn int64) error {
			if turn%10 < 7 {
				return l.get(ctx, turn)
			}
			return l.put(ctx, l.fresh())
		}, false
	case "list":
		return l.list, false
	}
	fmt.Fprintln(os.Stderr, "load: no such cell:", l.cell)
	os.Exit(2)
	return nil, false
}

// node is the client of the node whose turn it is.
func (l *loader) node() *minio.Client {
	return l.nodes[uint64(l.turn.Add(1))%uint64(len(l.nodes))]
}

func (l *loader) prepared(turn int64) string { return fmt.Sprintf("prepared-%d/%08d", l.size, turn) }
func (l *loader) fresh() string              { return fmt.Sprintf("fresh-%d/%d", l.size, l.next.Add(1)) }

func (l *loader) put(ctx context.Context, key string) error {
	_, err := l.node().PutObject(ctx, l.bucket, key, bytes.NewReader(l.payload), l.size,
		minio.PutObjectOptions{DisableMultipart: true})
	return err
}

func (l *loader) get(ctx context.Context, _ int64) error {
	object, err := l.node().GetObject(ctx, l.bucket, l.prepared(rand.Int64N(int64(l.objects))), minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer object.Close()
	n, err := io.Copy(io.Discard, object)
	if err == nil && n != l.size {
		err = errors.New("short read")
	}
	return err
}

func (l *loader) list(ctx context.Context, _ int64) error {
	seen := 0
	prefix := fmt.Sprintf("prepared-%d/", l.size)
	for object := range l.node().ListObjects(ctx, l.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return object.Err
		}
		seen++
	}
	if seen != l.objects {
		return fmt.Errorf("listed %d of %d", seen, l.objects)
	}
	return nil
}
