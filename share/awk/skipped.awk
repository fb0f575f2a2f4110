# The samples that are left out: reads the list of all of them, and prints those that the file `used`, which has the
# same order, lacks.
BEGIN {
    more = (getline line <used) > 0
}

more && $0 == line {
    more = (getline line <used) > 0
    next
}

{
    print
}
