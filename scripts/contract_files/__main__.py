"""Write the generated files that changed, and say which."""

from contract_files import ROOT, files


def main() -> None:
    """`make contracts`."""
    for path, text in files().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
