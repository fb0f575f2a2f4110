"""writes.py COMMAND...: runs the command and prints what it writes to standard error, a line of JSON for each write(2)."""
import json
import os
import subprocess
import sys

read, write = os.pipe2(os.O_DIRECT)  # a packet for each write
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=write)
os.close(write)
while packet := os.read(read, 65536):
    print(json.dumps(packet.decode("utf-8", "backslashreplace")))
sys.exit(process.wait())
