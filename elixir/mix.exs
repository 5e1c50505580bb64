defmodule OutriderPlug.MixProject do
  use Mix.Project

  def project do
    [
      app: :outrider_plug,
      version: "0.1.0",
      description: "Plug and Phoenix on Outrider",
      elixir: "~> 1.14",
      elixirc_paths: if(Mix.env() == :test, do: ["lib", "test/support"], else: ["lib"]),
      prune_code_paths: false,
      deps: deps(System.get_env("OUTRIDER_MIX_DEPS")),
      package: [licenses: ["Apache-2.0"], links: %{}]
    ]
  end

  def application do
    [extra_applications: if(Mix.env() == :test, do: [:logger, :inets], else: [:logger])]
  end

  # Outrider lies above this folder, in its repository as in the deps/ of a project that takes it from there.
  defp deps(nil) do
    [
      {:outrider, path: ".."},
      {:plug_cowboy, "~> 2.7"},
      {:phoenix, "~> 1.7", only: :test},
      {:phoenix_live_view, "~> 0.20 or ~> 1.0", only: :test},
      {:jason, "~> 1.4", only: :test}
    ]
  end

  # For a machine that does not reach Hex: a folder with the sources of these and of what they need, and Cowboy on ERL_LIBS.
  defp deps(folder) do
    [{:outrider, path: ".."}] ++
      for name <- Enum.sort(File.ls!(folder)) do
        {String.to_atom(name), path: Path.join(folder, name), override: true}
      end
  end
end
