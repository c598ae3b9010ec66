#!/usr/bin/python3
"""Prints "PASSED FAILED" of a JUnit file. Without one, the exit status counts as a single test; a file without
failures beside a bad exit status counts one failure more. cmocka writes a document for each group into one file."""
import os
import re
import sys
import xml.etree.ElementTree as tree


def main():
    path, status = sys.argv[1], int(sys.argv[2])
    if not os.path.exists(path):
        print("1 0" if status == 0 else "0 1")
        return
    passed = failed = 0
    with open(path, encoding="utf-8") as file:
        documents = re.sub(r"<\?xml.*?\?>", "", file.read())
    for case in tree.fromstring(f"<all>{documents}</all>").iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is None:
            passed += 1
    if status != 0 and failed == 0:
        failed = 1
    print(passed, failed)


if __name__ == "__main__":
    main()
