package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// The bill of materials says what is in the binaries: SPDX 2.3, as JSON. It is made of what Go has noted in each binary,
// not of what the sources ask for.

// noAssertion is SPDX's word for what a document does not say.
const noAssertion = "NOASSERTION"

type spdx struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      creation       `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Files         []spdxFile     `json:"files"`
	Relationships []relationship `json:"relationships"`
}

type creation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string        `json:"SPDXID"`
	Name             string        `json:"name"`
	Version          string        `json:"versionInfo"`
	Location         string        `json:"downloadLocation"`
	Analyzed         bool          `json:"filesAnalyzed"`
	LicenseConcluded string        `json:"licenseConcluded"`
	LicenseDeclared  string        `json:"licenseDeclared"`
	Copyright        string        `json:"copyrightText"`
	Purpose          string        `json:"primaryPackagePurpose"`
	References       []externalRef `json:"externalRefs,omitempty"`
}

type externalRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxFile struct {
	ID        string     `json:"SPDXID"`
	Name      string     `json:"fileName"`
	Types     []string   `json:"fileTypes"`
	Checksums []checksum `json:"checksums"`
	Concluded string     `json:"licenseConcluded"`
	InFile    []string   `json:"licenseInfoInFiles"`
	Copyright string     `json:"copyrightText"`
	Comment   string     `json:"comment"`
}

type checksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type relationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	documentID = "SPDXRef-DOCUMENT"
	programID  = "SPDXRef-Package-memberly"
	standardID = "SPDXRef-Package-go-std"
)

// bill writes the bill of materials of the binaries with these names, and returns it.
func (r *release) bill(names []string) ([]byte, error) {
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		return nil, err
	}
	var files []built
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(r.out, name))
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.ReadFile(filepath.Join(r.out, name))
		if err != nil {
			return nil, err
		}
		files = append(files, built{name, content, info})
	}
	d, err := r.document(files, copyright(licence))
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return text, write(filepath.Join(r.out, fmt.Sprintf("memberly-%s.spdx.json", r.version)), text, 0o644)
}

// built is a binary, and what Go has noted in it.
type built struct {
	name    string
	content []byte
	info    *debug.BuildInfo
}

// document returns the bill of materials of files.
func (r *release) document(files []built, copyright string) (*spdx, error) {
	const mit = "MIT"
	d := &spdx{Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: documentID, Name: "memberly-" + r.version,
		Creation: creation{r.made.Format(time.RFC3339), []string{"Tool: memberly/peer/check/dist"}}}
	d.Packages = append(d.Packages, spdxPackage{ID: programID, Name: "memberly", Version: r.version, Location: noAssertion,
		LicenseConcluded: mit, LicenseDeclared: mit, Copyright: copyright, Purpose: "APPLICATION"})
	d.relate(documentID, "DESCRIBES", programID)
	all, with := sha256.New(), ""
	for i, f := range files {
		if f.info.Main.Path != "memberly" {
			return nil, fmt.Errorf("%s is of module %q, not memberly", f.name, f.info.Main.Path)
		}
		if with != "" && f.info.GoVersion != with {
			return nil, fmt.Errorf("%s is built with %s, others with %s", f.name, f.info.GoVersion, with)
		}
		with = f.info.GoVersion
		all.Write(f.content)
		id := fmt.Sprintf("SPDXRef-File-%d", i+1)
		d.Files = append(d.Files, spdxFile{ID: id, Name: "./" + f.name, Types: []string{"BINARY", "APPLICATION"},
			Checksums: []checksum{{"SHA1", fmt.Sprintf("%x", sha1.Sum(f.content))}, {"SHA256", fmt.Sprintf("%x", sha256.Sum256(f.content))}},
			Concluded: "MIT AND BSD-3-Clause", InFile: []string{noAssertion}, Copyright: noAssertion,
			Comment: "built with " + with + settings(f.info)})
		d.relate(id, "GENERATED_FROM", programID)
		d.relate(id, "STATIC_LINK", standardID)
		for _, m := range f.info.Deps {
			d.depend(m)
		}
	}
	version := strings.TrimPrefix(with, "go")
	d.Packages = slices.Insert(d.Packages, 1, spdxPackage{ID: standardID, Name: "std", Version: version,
		Location: "https://go.dev/dl/go" + version + ".src.tar.gz", LicenseConcluded: "BSD-3-Clause", LicenseDeclared: "BSD-3-Clause",
		Copyright: "Copyright 2009 The Go Authors.", Purpose: "LIBRARY",
		References: []externalRef{
			{"PACKAGE-MANAGER", "purl", "pkg:golang/std@" + version},
			{"SECURITY", "cpe23Type", "cpe:2.3:a:golang:go:" + version + ":*:*:*:*:*:*:*"}}})
	d.relate(programID, "DEPENDS_ON", standardID)
	d.Namespace = fmt.Sprintf("https://spdx.org/spdxdocs/memberly-%s-%x", r.version, all.Sum(nil))
	return d, nil
}

// depend adds a module other than this one, unless it is there. Of its licence the build says nothing.
func (d *spdx) depend(m *debug.Module) {
	id := "SPDXRef-Package-" + strings.Map(func(r rune) rune {
		if r < 128 && strings.ContainsRune("/_~@+", r) {
			return '-'
		}
		return r
	}, m.Path+"-"+m.Version)
	if slices.ContainsFunc(d.Packages, func(p spdxPackage) bool { return p.ID == id }) {
		return
	}
	d.Packages = append(d.Packages, spdxPackage{ID: id, Name: m.Path, Version: m.Version, Location: noAssertion,
		LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, Copyright: noAssertion, Purpose: "LIBRARY",
		References: []externalRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.Path + "@" + m.Version}}})
	d.relate(programID, "DEPENDS_ON", id)
}

func (d *spdx) relate(from, kind, to string) {
	d.Relationships = append(d.Relationships, relationship{from, kind, to})
}

// settings returns those with which Go built a binary.
func settings(b *debug.BuildInfo) string {
	var text strings.Builder
	for _, s := range b.Settings {
		fmt.Fprintf(&text, " %s=%s", s.Key, s.Value)
	}
	return text.String()
}

// copyright returns the line of a licence that says whose the copyright is.
func copyright(licence []byte) string {
	for line := range strings.Lines(string(licence)) {
		if strings.HasPrefix(line, "Copyright") {
			return strings.TrimSpace(line)
		}
	}
	return noAssertion
}
