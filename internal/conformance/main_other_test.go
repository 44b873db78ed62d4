//go:build !linux

package conformance

func ownArcFolder() {}
