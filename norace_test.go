//go:build !race

package managedid

func raceEnabled() bool { return false }
