package main

import (
	"time"

	"github.com/managedid/managedid"
	"github.com/prometheus/client_golang/prometheus"
)

var (
	tokens       = prometheus.NewDesc("managedid_tokens", "Valid tokens that the cache holds.", nil, nil)
	acquisitions = prometheus.NewDesc("managedid_acquisitions_total", "Tokens that were received.", nil, nil)
	failures     = prometheus.NewDesc("managedid_failures_total", "Requests for a token that failed after all tries, by reason.", []string{"reason"}, nil)
	throttled    = prometheus.NewDesc("managedid_throttled_seconds", "Time until every endpoint may be asked again.", nil, nil)
	refresh      = prometheus.NewDesc("managedid_next_refresh_seconds", "Time until the first of the tokens is refreshed, at the next call.", nil, nil)
	expiry       = prometheus.NewDesc("managedid_earliest_expiry_seconds", "Time until the first of the tokens expires.", nil, nil)
)

// collector shows a cache to Prometheus.
type collector struct{ cache *managedid.TokenCache }

func (c collector) Describe(descs chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, descs) }

func (c collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.cache.Stats()
	gauge := func(d *prometheus.Desc, v float64) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	until := func(t time.Time) float64 { return max(0, time.Until(t).Seconds()) }
	gauge(tokens, float64(s.Tokens))
	gauge(throttled, until(s.ThrottledUntil))
	gauge(refresh, until(s.NextRefresh))
	gauge(expiry, until(s.EarliestExpiry))
	metrics <- prometheus.MustNewConstMetric(acquisitions, prometheus.CounterValue, float64(s.Acquisitions))
	for reason, n := range s.Failures {
		metrics <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(n), string(reason))
	}
}
