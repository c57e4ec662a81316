package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"memberly/peer/config/options"
)

// KeygenPage describes `memberly keygen`.
var KeygenPage = options.Page{Command: "keygen", What: "make a key for -key", Synopsis: "[FILE]", Operand: "FILE",
	About: "Makes a new key for -key, and prints it, or writes it to FILE, a new file that only its owner can read. " +
		"Copy that file to every host.\n\n" +
		"The first key of a file encrypts; every key can decrypt. To change the key of a running group, take three steps, " +
		"each on all hosts before the next, and send the peers a SIGHUP after each: add the new key as the last line, " +
		"move it to the first line, remove the old one.",
	Exit: "0 done, 1 not done, 2 wrong usage"}

// RunKeygen is the command keygen; args follow its name. It returns the exit code, and reads
// nothing from stdin.
func RunKeygen(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("keygen", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, KeygenPage.Text())
		return 0
	}
	if err == nil && flags.NArg() > 1 {
		err = fmt.Errorf("unexpected argument %q: name one file, or none", flags.Arg(1))
	}
	if err != nil {
		fmt.Fprint(stderr, KeygenPage.Wrong(err))
		return 2
	}
	if err := keygen(flags.Args(), rand.Reader, stdout); err != nil {
		fmt.Fprintf(stderr, "memberly keygen: %v\n", err)
		return 1
	}
	return 0
}

// keygen writes a new key to the named file, or to stdout if there is none.
func keygen(file []string, random io.Reader, stdout io.Writer) error {
	line, err := NewKey(random)
	if err != nil {
		return err
	}
	if len(file) == 0 {
		_, err := fmt.Fprintln(stdout, line)
		return err
	}
	return create(file[0], line+"\n")
}

// create writes a new file that only its owner can read. If writing fails, it removes the file.
func create(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q exists already, and may hold keys in use: name a new file, or add a key to it with memberly keygen >>FILE", path)
	}
	if err != nil {
		return fmt.Errorf("cannot make the key file: %w", err)
	}
	_, err = io.WriteString(f, content)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("cannot write the key file: %w", err)
	}
	return nil
}
