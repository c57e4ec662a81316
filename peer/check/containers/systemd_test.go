package containers_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemd is where Debian and others have it.
const systemd = "/usr/lib/systemd/systemd"

// machine is a container whose first process is the systemd of this machine: it has this machine's /usr, which it
// cannot write, and all else of its own.
type machine struct {
	*testing.T
	ctx  context.Context
	name string
}

// boot starts such a container, with the program in /usr/local/bin. The end of the test removes it.
func boot(ctx context.Context, t *testing.T) *machine {
	t.Helper()
	m := &machine{t, ctx, image + "-systemd"}
	local := t.TempDir()
	if err := os.Chmod(filepath.Dir(local), 0o755); err != nil { // for the users in the container
		t.Fatal(err)
	}
	if err := os.MkdirAll(local+"/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		docker(context.Background(), "rm", "-fv", m.name, m.name+"-program")
		docker(context.Background(), "image", "rm", m.name)
	})
	m.docker("create", "--name", m.name+"-program", image)
	m.docker("cp", m.name+"-program:/memberly", local+"/bin/memberly")
	load := exec.CommandContext(ctx, "docker", "import", "-", m.name)
	load.Stdin = bytes.NewReader(rootOfMachine(t))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("making the root of the machine: %v\n%s", err, out)
	}
	// The control groups are writable, as --privileged has them, which not every root may use.
	const remount = `while read -r _ at kind _; do
	case $kind in cgroup*) mount -o remount,rw,bind "$at" ;; esac
done </proc/mounts
exec ` + systemd + ` --show-status=no`
	m.docker("run", "-d", "--name", m.name, "--hostname", "one", "--env", "container=docker",
		"--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--cap-add", "SYS_NICE", "--cap-add", "SYS_PTRACE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/tmp", "-v", "/usr:/usr:ro", "-v", local+":/usr/local:ro",
		m.name, "/bin/sh", "-c", remount)
	m.until("systemd is up", 30*time.Second, func() bool {
		_, err := m.try("systemctl", "is-active", "multi-user.target")
		return err == nil
	})
	return m
}

// rootOfMachine returns an archive of all but /usr. Nothing in it touches the kernel, which is this machine's too.
func rootOfMachine(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, to string) {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, "")
	}
	for _, name := range strings.Fields("usr etc etc/systemd etc/systemd/system etc/systemd/system/memberly.service.d etc/memberly var var/log var/lib var/tmp run tmp proc sys dev root") {
		add(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}, "")
	}
	for _, name := range strings.Fields("bin sbin lib lib64") {
		link(name, "usr/"+name)
	}
	for _, masked := range strings.Fields("systemd-sysctl systemd-binfmt systemd-modules-load systemd-udevd systemd-remount-fs systemd-logind systemd-networkd systemd-resolved systemd-timesyncd") {
		link("etc/systemd/system/"+masked+".service", "/dev/null")
	}
	link("etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target")
	for name, content := range map[string]string{
		"etc/passwd":                          "root:x:0:0::/root:/bin/sh\nmemberly:x:900:900::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n",
		"etc/group":                           "root:x:0:\nmemberly:x:900:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf":                   "passwd: files systemd\ngroup: files systemd\nhosts: files\n",
		"etc/machine-id":                      "",
		"etc/os-release":                      "ID=memberly-test\n",
		"etc/memberly/hosts.txt":              "one\n",
		"etc/systemd/system/memberly.service": readFile(t, "docs/deploy/memberly.service"),
	} {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (m *machine) docker(args ...string) string {
	m.Helper()
	out, err := docker(m.ctx, args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// try runs a command in the machine, as root.
func (m *machine) try(args ...string) (string, error) {
	return docker(m.ctx, append([]string{"exec", m.name}, args...)...)
}

func (m *machine) run(args ...string) string {
	m.Helper()
	return m.docker(append([]string{"exec", m.name}, args...)...)
}

// put writes a file of the machine.
func (m *machine) put(path, content string) {
	m.Helper()
	m.run("sh", "-c", `printf %s "$1" >"$2"`, "sh", content, path)
}

// shows returns a property of the unit.
func (m *machine) shows(property string) string {
	m.Helper()
	return m.run("systemctl", "show", "--value", "-p", property, "memberly")
}

func (m *machine) records() string {
	out, _ := m.try("cat", "/var/log/memberly.records")
	return out
}

// until waits until done is true.
func (m *machine) until(what string, limit time.Duration, done func() bool) {
	m.Helper()
	for began := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > limit {
			status, _ := m.try("systemctl", "status", "--no-pager", "-l", "memberly")
			journal, _ := m.try("journalctl", "--no-pager", "-n", "40")
			m.Fatalf("not after %s: %s\nrecords:\n%s\n%s\n%s", limit, what, m.records(), status, journal)
		}
	}
}

func (m *machine) untilRecord(record string) {
	m.Helper()
	m.until("the record "+record, 10*time.Second, func() bool { return strings.HasSuffix(m.records(), record) })
}

// crash kills the process, and waits until systemd has started another.
func (m *machine) crash() {
	m.Helper()
	before := m.shows("MainPID")
	m.run("kill", "-KILL", before)
	m.until("another process", 10*time.Second, func() bool {
		now := m.shows("MainPID")
		return now != "0" && now != before && m.shows("ActiveState") == "active"
	})
}

// TestSystemd starts the unit of docs/deploy under a real systemd, and its drop-ins.
func TestSystemd(t *testing.T) {
	needContainers(t)
	t.Parallel()
	if _, err := os.Stat(systemd); err != nil {
		t.Fatal("this machine has no systemd to start in a container: install the package systemd")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m := boot(ctx, t)
	const dropIns = "/etc/systemd/system/memberly.service.d/"

	// Exposure is below 2.0, of the unit as it is and with a user of its own.
	m.run("systemd-analyze", "verify", "memberly.service")
	m.run("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=19", "/etc/systemd/system/memberly.service")

	m.run("systemctl", "start", "memberly")
	m.untilRecord("{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}")
	m.run("memberly", "ready")
	status := m.run("cat", "/proc/"+m.shows("MainPID")+"/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process does not have %q:\n%s", want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") {
		t.Errorf("the process runs as root")
	}

	m.put("/etc/memberly/hosts.txt", "one\ntwo\n")
	m.run("systemctl", "reload", "memberly")
	m.untilRecord("{peer_id:1, view_id: 2, leader: 1, memb_list: [<1>]}")
	m.put("/etc/memberly/hosts.txt", "one\n")

	m.stops()
	m.run("systemctl", "start", "memberly")
	for range 6 { // more than systemd's own limit, of five starts in ten seconds
		m.crash()
	}
	m.stops()

	m.put(dropIns+"wrong.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/memberly -nonsense\n")
	m.run("systemctl", "daemon-reload")
	m.try("systemctl", "start", "memberly")
	m.until("it has failed", 5*time.Second, func() bool { return m.shows("ActiveState") == "failed" })
	if restarts := m.shows("NRestarts"); restarts != "0" {
		t.Errorf("after wrong usage it was restarted %s times", restarts)
	}
	m.run("rm", dropIns+"wrong.conf")

	// With state, keys and a command, and the user that the key belongs to.
	m.run("memberly", "keygen", "/etc/memberly/group.key")
	m.run("chown", "memberly", "/etc/memberly/group.key")
	m.run("chmod", "0400", "/etc/memberly/group.key")
	for _, name := range []string{"state.conf", "key.conf"} {
		m.put(dropIns+name, readFile(t, "docs/deploy/"+name))
	}
	m.put(dropIns+"exec.conf", "[Service]\nEnvironment=\"MEMBERLY_EXEC=touch $STATE_DIRECTORY/$(id -un)\"\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemd-analyze", "security", "--no-pager", "--threshold=19", "memberly")
	m.put("/var/log/memberly.records", "")
	m.run("systemctl", "start", "memberly")
	m.untilRecord("{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}")
	m.put("/etc/memberly/hosts.txt", "one\ntwo\n")
	m.run("systemctl", "reload", "memberly")
	m.untilRecord("{peer_id:1, view_id: 2, leader: 1, memb_list: [<1>]}")
	m.put("/var/log/memberly.records", "")
	m.crash() // without its state it would wait for a quorum of two hosts
	m.untilRecord("{peer_id:1, view_id: 2, leader: 1, memb_list: [<1>]}")
	m.until("the command has run", 5*time.Second, func() bool {
		_, err := m.try("test", "-e", "/var/lib/memberly/memberly")
		return err == nil
	})
	if owner := m.run("stat", "-c", "%a %U", "/var/lib/memberly/state"); owner != "600 memberly" {
		t.Errorf("the state file is %s", owner)
	}
	m.until("the key in the journal", 5*time.Second, func() bool {
		return strings.Contains(m.run("journalctl", "--no-pager", "-u", "memberly"), "Read 1 key from")
	})
	m.stops()
	m.runsPackaged()
}

// runsPackaged starts the unit of the Debian packages, with the folders that the package makes and a state file, which
// the unit must be able to write.
func (m *machine) runsPackaged() {
	m.Helper()
	print := exec.CommandContext(m.ctx, "go", "run", "./peer/check/dist", "-unit")
	print.Dir = root
	unit, err := print.Output()
	if err != nil || !bytes.Contains(unit, []byte("=/usr/bin/memberly ")) {
		m.Fatalf("the unit of the packages: %v: %s", err, unit)
	}
	m.run("sh", "-c", "rm -r /etc/systemd/system/memberly.service.d /var/lib/memberly && "+
		"install -d -o memberly -g memberly -m 0700 /var/lib/memberly && install -d -o memberly -g memberly /var/log/memberly")
	m.put("/etc/systemd/system/memberly.service", strings.Replace(string(unit), "=/usr/bin/", "=/usr/local/bin/", 1))
	m.run("mkdir", "/etc/systemd/system/memberly.service.d")
	m.put("/etc/systemd/system/memberly.service.d/override.conf", "[Service]\nEnvironment=MEMBERLY_STATE=/var/lib/memberly/state\n")
	m.put("/etc/memberly/hosts.txt", "one\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemd-analyze", "security", "--no-pager", "--threshold=19", "memberly")
	m.run("systemctl", "start", "memberly")
	m.until("the packaged unit has written a record", 10*time.Second, func() bool {
		records, _ := m.try("cat", "/var/log/memberly/records")
		return strings.HasSuffix(records, "{peer_id:1, view_id: 1, leader: 1, memb_list: [<1>]}")
	})
	if owner := m.run("stat", "-c", "%a %U", "/var/lib/memberly/state"); owner != "600 memberly" {
		m.Errorf("the state file of the packaged unit is %s", owner)
	}
	m.stops()
}

// stops stops the unit.
func (m *machine) stops() {
	m.Helper()
	began := time.Now()
	m.run("systemctl", "stop", "memberly")
	if took := time.Since(began); took > 5*time.Second || m.shows("Result") != "success" {
		m.Errorf("it stopped after %s, with the result %s", took, m.shows("Result"))
	}
}
