// Verifies the test vectors with an implementation that follows docs/reference/test-vectors.md and
// RFC 7693 alone: go run main.go FOLDER. Prints how many cases of each file agree; exits with 1 if
// one does not.
package main

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
)

// BLAKE2b, RFC 7693.

var iv = [8]uint64{
	0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
	0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
}

var sigma = [10][16]int{
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
}

func compress(h *[8]uint64, block []byte, count uint64, last bool) {
	var m, v [16]uint64
	for i := range m {
		m[i] = binary.LittleEndian.Uint64(block[8*i:])
	}
	copy(v[:8], h[:])
	copy(v[8:], iv[:])
	v[12] ^= count
	if last {
		v[14] = ^v[14]
	}
	mix := func(a, b, c, d int, x, y uint64) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft64(v[d]^v[a], -32)
		v[c] += v[d]
		v[b] = bits.RotateLeft64(v[b]^v[c], -24)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft64(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft64(v[b]^v[c], -63)
	}
	for round := 0; round < 12; round++ {
		s := sigma[round%10]
		for i := 0; i < 4; i++ {
			mix(i, i+4, i+8, i+12, m[s[2*i]], m[s[2*i+1]])
		}
		for i := 0; i < 4; i++ {
			mix(i, (i+1)%4+4, (i+2)%4+8, (i+3)%4+12, m[s[8+2*i]], m[s[9+2*i]])
		}
	}
	for i := range h {
		h[i] ^= v[i] ^ v[i+8]
	}
}

func blake2b(message []byte, n int, key []byte, person string) []byte {
	var parameters [64]byte
	parameters[0], parameters[1], parameters[2], parameters[3] = byte(n), byte(len(key)), 1, 1
	copy(parameters[48:], person)
	h := iv
	for i := range h {
		h[i] ^= binary.LittleEndian.Uint64(parameters[8*i:])
	}
	var data []byte
	if len(key) > 0 {
		data = append(data, key...)
		data = append(data, make([]byte, 128-len(key))...)
	}
	data = append(data, message...)
	count := uint64(0)
	for len(data) > 128 {
		count += 128
		compress(&h, data[:128], count, false)
		data = data[128:]
	}
	var block [128]byte
	copy(block[:], data)
	compress(&h, block[:], count+uint64(len(data)), true)
	digest := make([]byte, 64)
	for i := range h {
		binary.LittleEndian.PutUint64(digest[8*i:], h[i])
	}
	return digest[:n]
}

// Experiments and draws.

const one = uint64(1) << 32

func id(number uint64) string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	text := "exp_"
	for shift := 60; shift >= 0; shift -= 5 {
		text += string(alphabet[number>>shift&31])
	}
	return text
}

func keyNumber(key string) uint64 {
	return binary.BigEndian.Uint64(blake2b([]byte(key), 8, nil, "experiment key"))
}

type draws struct{ hash, enrolment, variant, promoted uint64 }

func drawsOf(experiment uint64, unit []byte) draws {
	key := binary.BigEndian.AppendUint64(nil, experiment)
	digest := blake2b(unit, 24, key, "")
	return draws{
		binary.BigEndian.Uint64(digest),
		binary.BigEndian.Uint64(digest[8:]),
		binary.BigEndian.Uint64(digest[16:]),
		binary.BigEndian.Uint64(blake2b(unit, 8, key, "promoted")),
	}
}

func lastingUnit(unit string) uint64 {
	return binary.BigEndian.Uint64(blake2b([]byte(unit), 8, nil, "unit"))
}

func sharedDraw(purpose, key, unit string) uint64 {
	inner := blake2b([]byte(key), 16, nil, "")
	return uint64(binary.BigEndian.Uint32(blake2b([]byte(unit), 4, inner, purpose)))
}

func numerator(share float64) uint64 { return uint64(math.RoundToEven(share * float64(one))) }

// Allocation.

type part struct {
	End     uint64 `json:"end"`
	Variant int    `json:"variant"`
}

func allocation(weights []uint64, eligible []int) ([]uint64, []part) {
	owned := make([]uint64, len(weights))
	for v, weight := range weights {
		owned[v] = weight << 16
	}
	if eligible == nil {
		parts, end := []part{}, uint64(0)
		for v, own := range owned {
			end += own
			parts = append(parts, part{end, v})
		}
		return owned, parts
	}
	isEligible := make([]bool, len(weights))
	total := uint64(0)
	for _, v := range eligible {
		isEligible[v] = true
		total += weights[v]
	}
	share := func(v int) uint64 { return weights[v] }
	if total == 0 {
		total = uint64(len(eligible))
		share = func(int) uint64 { return 1 }
	}
	p := make([]uint64, len(weights))
	rest := make([]uint64, len(weights))
	missing := one
	for _, v := range eligible {
		p[v], rest[v] = share(v)*one/total, share(v)*one%total
		missing -= p[v]
	}
	order := append([]int{}, eligible...)
	sort.Slice(order, func(i, j int) bool {
		if rest[order[i]] != rest[order[j]] {
			return rest[order[i]] > rest[order[j]]
		}
		return order[i] < order[j]
	})
	for _, v := range order[:missing] {
		p[v]++
	}
	need := make([]uint64, len(weights))
	for _, v := range eligible {
		need[v] = p[v] - owned[v]
	}
	parts, end, receiver := []part{}, uint64(0), 0
	for v, own := range owned {
		if isEligible[v] {
			if own > 0 {
				end += own
				parts = append(parts, part{end, v})
			}
			continue
		}
		for own > 0 {
			for need[receiver] == 0 {
				receiver++
			}
			size := min(own, need[receiver])
			end += size
			own -= size
			need[receiver] -= size
			parts = append(parts, part{end, receiver})
		}
	}
	return p, parts
}

func owner(parts []part, number uint64) int {
	for _, each := range parts {
		if number < each.End {
			return each.Variant
		}
	}
	panic("no part")
}

func packed(p []uint64) []byte {
	switch n := len(p); {
	case n <= 2:
		return nil
	case n <= 16:
		out := make([]byte, n)
		for v, each := range p {
			out[v] = 255
			if each > 0 {
				out[v] = byte(min(254, math.Round(-16*math.Log2(float64(each)/float64(one)))))
			}
		}
		return out
	default:
		out, all := make([]byte, (n+7)/8), true
		for v, each := range p {
			if each > 0 {
				out[v/8] |= 1 << (v % 8)
			} else {
				all = false
			}
		}
		if all {
			return nil
		}
		return out
	}
}

// Receipts.

type receipt struct {
	Key               byte   `json:"key"`
	Experiment        string `json:"experiment"`
	Variant           uint16 `json:"variant"`
	Propensity        uint64 `json:"propensity"`
	AllocationVersion uint64 `json:"allocationVersion"`
	AssignedAtMs      uint64 `json:"assignedAtMs"`
	Unit              string `json:"unit"`
	AttributionWindow uint32 `json:"attributionWindowS"`
	Weights           string `json:"weights"`
	Features          string `json:"features"`
	Dimensions        string `json:"dimensions"`
}

func (r receipt) sign(secret []byte) string {
	weights, features, dimensions := unhex(r.Weights), unhex(r.Features), unhex(r.Dimensions)
	version := byte(1)
	if len(weights)+len(features) > 0 {
		version = 2
	}
	if len(dimensions) > 0 {
		version = 3
	}
	raw := []byte{version, r.Key}
	raw = binary.BigEndian.AppendUint64(raw, number(r.Experiment))
	raw = binary.BigEndian.AppendUint16(raw, r.Variant)
	raw = binary.BigEndian.AppendUint32(raw, uint32(r.Propensity-1))
	raw = append(raw, binary.BigEndian.AppendUint64(nil, r.AllocationVersion)[2:]...)
	raw = append(raw, binary.BigEndian.AppendUint64(nil, r.AssignedAtMs)[2:]...)
	raw = binary.BigEndian.AppendUint64(raw, number(r.Unit))
	raw = binary.BigEndian.AppendUint32(raw, r.AttributionWindow)
	if version == 3 {
		raw = append(append(raw, byte(len(dimensions))), dimensions...)
	}
	if version > 1 {
		raw = append(raw, byte(len(weights)))
		raw = append(append(raw, weights...), features...)
	}
	return base64.RawURLEncoding.EncodeToString(append(raw, blake2b(raw, 16, secret, "")...))
}

func verify(text string, keys map[byte][]byte) (receipt, string) {
	var none receipt
	if strings.ContainsAny(text, "\r\n") { // which Go's decoder passes over
		return none, "MALFORMED_RECEIPT"
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(raw) < 56 {
		return none, "MALFORMED_RECEIPT"
	}
	if raw[0] < 1 || raw[0] > 3 {
		return none, "UNKNOWN_RECEIPT_VERSION"
	}
	body, mac := raw[:len(raw)-16], raw[len(raw)-16:]
	var weights, features, dimensions []byte
	if raw[0] == 1 && len(raw) != 56 {
		return none, "MALFORMED_RECEIPT"
	}
	rest := body[40:]
	if raw[0] == 3 {
		if len(rest) == 0 || rest[0] < 1 || rest[0] > 4 || len(rest) < 1+int(rest[0]) {
			return none, "MALFORMED_RECEIPT"
		}
		dimensions, rest = rest[1:1+rest[0]], rest[1+rest[0]:]
	}
	if raw[0] > 1 {
		if len(rest) == 0 {
			return none, "MALFORMED_RECEIPT"
		}
		w := int(rest[0])
		if w > 32 || w == 1 || w == 2 || len(rest) < 1+w {
			return none, "MALFORMED_RECEIPT"
		}
		weights, features = rest[1:1+w], rest[1+w:]
		isEmpty := w+len(features)+len(dimensions) == 0
		if len(features)%3 != 0 || len(features) > 96 || isEmpty {
			return none, "MALFORMED_RECEIPT"
		}
	}
	if base64.RawURLEncoding.EncodeToString(raw) != text {
		return none, "MALFORMED_RECEIPT"
	}
	secret, ok := keys[raw[1]]
	if !ok {
		return none, "UNKNOWN_RECEIPT_KEY"
	}
	if subtle.ConstantTimeCompare(blake2b(body, 16, secret, ""), mac) != 1 {
		return none, "FORGED_RECEIPT"
	}
	return receipt{
		raw[1],
		hex.EncodeToString(raw[2:10]),
		binary.BigEndian.Uint16(raw[10:]),
		uint64(binary.BigEndian.Uint32(raw[12:])) + 1,
		binary.BigEndian.Uint64(append([]byte{0, 0}, raw[16:22]...)),
		binary.BigEndian.Uint64(append([]byte{0, 0}, raw[22:28]...)),
		hex.EncodeToString(raw[28:36]),
		binary.BigEndian.Uint32(raw[36:]),
		hex.EncodeToString(weights),
		hex.EncodeToString(features),
		hex.EncodeToString(dimensions),
	}, ""
}

// Comparison with the files.

var failures int

func check(place string, found, expected any) {
	if !reflect.DeepEqual(found, expected) {
		failures++
		fmt.Fprintf(os.Stderr, "%s: %v, must be %v\n", place, found, expected)
	}
}

func number(text string) uint64 {
	found, err := strconv.ParseUint(text, 16, 64)
	must(err)
	return found
}

func unhex(text string) []byte {
	found, err := hex.DecodeString(text)
	must(err)
	return found
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func read(name string, into any) {
	data, err := os.ReadFile(filepath.Join(os.Args[1], name))
	must(err)
	must(json.Unmarshal(data, into))
}

func hashes() int {
	var file struct {
		Units []struct {
			Experiment, Hash, Enrolment, Variant, Promoted string
			Unit, UnitHex                                  *string
		}
		ExperimentKeys []struct{ Key, Experiment, ID string }
		ExperimentIDs  []struct{ Experiment, ID string }
		Shared         []struct{ Purpose, Key, Unit, Draw string }
	}
	read("hashes.json", &file)
	for _, each := range file.Units {
		var unit []byte
		if each.UnitHex != nil {
			unit = unhex(*each.UnitHex)
		} else {
			unit = []byte(*each.Unit)
		}
		expected := draws{
			number(each.Hash), number(each.Enrolment), number(each.Variant), number(each.Promoted),
		}
		found := drawsOf(number(each.Experiment), unit)
		if each.UnitHex == nil {
			found.hash = lastingUnit(*each.Unit)
		}
		check("hashes", found, expected)
	}
	for _, each := range file.ExperimentKeys {
		check("keys", keyNumber(each.Key), number(each.Experiment))
		check("keys", id(keyNumber(each.Key)), each.ID)
	}
	for _, each := range file.ExperimentIDs {
		check("ids", id(number(each.Experiment)), each.ID)
	}
	for _, each := range file.Shared {
		check("shared", sharedDraw(each.Purpose, each.Key, each.Unit), number(each.Draw))
	}
	return len(file.Units) + len(file.ExperimentKeys) + len(file.ExperimentIDs) + len(file.Shared)
}

func enrolments() int {
	var file struct {
		Cases []struct {
			Enrolment         string
			TrafficAllocation float64
			Enrolled          bool
		}
	}
	read("enrolment.json", &file)
	for _, each := range file.Cases {
		enrolled := number(each.Enrolment)>>32 < numerator(each.TrafficAllocation)
		check("enrolment", enrolled, each.Enrolled)
	}
	return len(file.Cases)
}

func allocations() int {
	var file struct {
		Cases []struct {
			Weights, Propensities []uint64
			Eligible              []int
			Parts                 []part
			Packed                string
			Draws                 []struct {
				Draw           string
				Variant, Again int
			}
		}
	}
	read("allocations.json", &file)
	count := 0
	for _, each := range file.Cases {
		p, parts := allocation(each.Weights, each.Eligible)
		check("propensities", p, each.Propensities)
		check("parts", parts, each.Parts)
		check("packed", hex.EncodeToString(packed(p)), each.Packed)
		sum := uint64(0)
		for _, numerator := range p {
			sum += numerator
		}
		check("sum", sum, one)
		for _, draw := range each.Draws {
			check("draw", owner(parts, number(draw.Draw)>>32), draw.Variant)
			check("draw again", owner(parts, number(draw.Draw)&(one-1)), draw.Again)
			count++
		}
	}
	return count
}

func layers() int {
	var file struct {
		Layers []struct {
			Key, Unit string
			Range     [2]float64
			In        bool
		}
		Holdouts []struct {
			Key, Unit, Experiment string
			Share                 float64
			In                    bool
		}
	}
	read("layers.json", &file)
	for _, each := range file.Layers {
		draw := sharedDraw("layer", each.Key, each.Unit)
		in := numerator(each.Range[0]) <= draw && draw < numerator(each.Range[1])
		check("layers", in, each.In)
	}
	for _, each := range file.Holdouts {
		experiment := blake2b([]byte(each.Key), 8, nil, "holdout key")
		check("holdout keys", binary.BigEndian.Uint64(experiment), number(each.Experiment))
		unit := binary.BigEndian.AppendUint64(nil, lastingUnit(each.Unit))
		draw := uint64(binary.BigEndian.Uint32(blake2b(unit, 4, experiment, "holdout")))
		check("holdouts", draw < numerator(each.Share), each.In)
	}
	return len(file.Layers) + len(file.Holdouts)
}

func receipts() int {
	var file struct {
		Keys []struct {
			ID     byte
			Secret string
		}
		Valid []struct {
			receipt
			Text string
		}
		Refused []struct{ Text, Code string }
	}
	read("receipts.json", &file)
	keys := map[byte][]byte{}
	for _, each := range file.Keys {
		keys[each.ID] = unhex(each.Secret)
	}
	for _, each := range file.Valid {
		check("receipt", each.sign(keys[each.Key]), each.Text)
		found, code := verify(each.Text, keys)
		check("verified", code, "")
		check("verified", found, each.receipt)
	}
	for _, each := range file.Refused {
		_, code := verify(each.Text, keys)
		check("refused "+each.Text, code, each.Code)
	}
	return len(file.Valid) + len(file.Refused)
}

func main() {
	counts := map[string]int{
		"hashes.json":      hashes(),
		"enrolment.json":   enrolments(),
		"allocations.json": allocations(),
		"layers.json":      layers(),
		"receipts.json":    receipts(),
	}
	must(json.NewEncoder(os.Stdout).Encode(counts))
	if failures > 0 {
		os.Exit(1)
	}
}
