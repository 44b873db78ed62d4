// Package interop has tests in which other identity libraries, unmodified, are clients of the emulator.
package interop
