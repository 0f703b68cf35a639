from antiphon.cli.main import main

main()
