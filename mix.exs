# Outrider as a dependency of a mix project: its modules are Erlang's, its sidecar comes from scripts/sidecar.escript.
# Name, version and the rest stand in erlang/outrider.app.src.
defmodule Mix.Tasks.Compile.OutriderSidecar do
  @moduledoc "Puts the sidecar into priv: see docs/packaging.md."
  use Mix.Task.Compiler

  @impl true
  def run(_arguments) do
    # Who has configured the file that is run needs none in priv.
    none = if Application.get_env(:outrider, :executable), do: [{"OUTRIDER_EXECUTABLE", "none"}], else: []

    case System.cmd("escript", ["scripts/sidecar.escript"], into: IO.stream(), env: none) do
      {_, 0} ->
        # Mix has linked priv into the build before it was there.
        Mix.Project.build_structure()
        :ok

      {_, status} ->
        Mix.raise("scripts/sidecar.escript has failed (exit code #{status}); it says above what to do")
    end
  end
end

defmodule Outrider.MixProject do
  use Mix.Project

  @app_file "erlang/outrider.app.src"
  {:ok, [{:application, :outrider, keys}]} = :file.consult(@app_file)
  @keys keys

  def project do
    [
      app: :outrider,
      version: List.to_string(@keys[:vsn]),
      description: List.to_string(@keys[:description]),
      elixir: "~> 1.14",
      language: :erlang,
      compilers: [:outrider_sidecar | Mix.compilers()],
      erlc_paths: ["erlang/src"],
      prune_code_paths: false,
      deps: deps(),
      package: [
        files: Enum.map(@keys[:files], &List.to_string/1),
        licenses: Enum.map(@keys[:licenses], &List.to_string/1),
        links: %{}
      ]
    ]
  end

  def application do
    [
      mod: @keys[:mod],
      registered: @keys[:registered],
      env: @keys[:env],
      extra_applications: @keys[:applications] -- [:kernel, :stdlib]
    ]
  end

  # As in rebar.config.script: what is found on the code path (ERL_LIBS) need not be fetched.
  defp deps do
    if :code.lib_dir(:cowboy) == {:error, :bad_name}, do: [{:cowboy, ">= 2.12.0"}], else: []
  end
end
