# Read by scripts of this folder: puts what is committed and what is to be into $work/outrider, as a git repository of its own.
#
# Needs $root, the top of the tree, and $work, a folder of the caller's.

mkdir "$work/outrider"
(cd "$root" && git ls-files -z --cached --others --exclude-standard |
    tar --create --null --ignore-failed-read --files-from - 2>/dev/null) | tar --extract --directory "$work/outrider"
for command in 'init --quiet' 'add --all' 'commit --quiet --message tree'; do
    git -C "$work/outrider" -c user.name=test -c user.email=test@localhost -c init.defaultBranch=main $command
done
