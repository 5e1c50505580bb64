#!/bin/sh
# A mix project elsewhere that names Outrider as a git dependency builds its sidecar with it; its release carries the sidecar,
# runs a handler and answers a client.
#
# usage: mix-dependency.sh
#
# The repository it depends on is a copy of this tree as it is, committed or not. ERL_LIBS gives Cowboy where Hex does not
# answer; the client is curl.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
release=$work/project/_build/prod/rel/project/bin/project
finish() {
    [ ! -x "$release" ] || "$release" stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

. "$root/test/own/copy.sh"
mkdir "$work/project" "$work/project/lib"
cd "$work/project"
cat >mix.exs <<END
defmodule Project.MixProject do
  use Mix.Project

  def project do
    [app: :project, version: "1.0.0", deps: [{:outrider, git: "file://$work/outrider", branch: "main"}], prune_code_paths: false]
  end

  def application, do: [mod: {Project, []}, extra_applications: [:logger]]
end
END
cat >lib/project.ex <<'END'
defmodule Project do
  use Application

  def start(_type, _args) do
    dispatch = :cowboy_router.compile([{:_, [{"/", __MODULE__, []}]}])
    {:ok, _} = :outrider.start_clear(:project, [port: 0], %{env: %{dispatch: dispatch}})
    Supervisor.start_link([], strategy: :one_for_one)
  end

  def init(req, state), do: {:ok, :cowboy_req.reply(200, %{}, "from a release", req), state}
end
END

# Cargo's downloads and what it built of them may be shared; what is Outrider's own is built anew.
export CARGO_TARGET_DIR="$root/target" MIX_ENV=prod
mix deps.get >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mix release --quiet

sidecar=$(echo _build/prod/rel/project/lib/outrider-*/priv/bin/outrider)
"$sidecar" --version
# Nothing of the build is left to it.
rm -rf "$work/outrider" deps _build/prod/lib
(unset ERL_LIBS CARGO_TARGET_DIR && exec "$release" daemon)
tries=60
until port=$("$release" rpc 'IO.puts(:outrider.get_port(:project))' 2>"$work/log"); do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { cat "$work/log" >&2; exit 1; }
done
answer=$(curl --silent --fail --max-time 30 "http://127.0.0.1:$port/")
[ "$answer" = "from a release" ] || { echo "mix-dependency: the answer was: $answer" >&2; exit 1; }
echo "mix-dependency: a mix project elsewhere built, its release ran and answered"
