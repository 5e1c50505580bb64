defmodule Outrider.PhoenixAdapter do
  @moduledoc """
  Serves a Phoenix endpoint on Outrider:

      config :my_app, MyAppWeb.Endpoint, adapter: Outrider.PhoenixAdapter

  ## Configuration of the endpoint

  As with `Phoenix.Endpoint.Cowboy2Adapter`:

    * `:http` - the options of `Outrider.Plug`, which are those of `Plug.Cowboy`; `false` by default
    * `:https` - likewise; `false` by default
    * `:drainer` - the options of `Outrider.Drainer`, or `false` for none

  The drainer runs behind that of Phoenix' own sockets, which asks the channels to leave.
  """

  require Logger

  @ports [http: 4000, https: 4040]

  @doc false
  def child_specs(endpoint, config) do
    refs_and_specs =
      for {scheme, default} <- @ports, options = config[scheme] do
        port = port(:proplists.get_value(:port, options, default), scheme)

        # Those of the user stand first, and win.
        options = :proplists.delete(:port, options) ++ [port: port, otp_app: config[:otp_app]]
        listener(endpoint, scheme, options, config[:code_reloader])
      end

    {refs, specs} = Enum.unzip(refs_and_specs)
    drainer = Keyword.get(config, :drainer, [])

    if refs != [] and drainer do
      specs ++ [{Outrider.Drainer, Keyword.put_new(drainer, :refs, refs)}]
    else
      specs
    end
  end

  defp port(nil, scheme) do
    raise ArgumentError, "the endpoint's #{inspect(scheme)} has port: nil; give it a number"
  end

  defp port(port, _scheme) when is_binary(port), do: String.to_integer(port)
  defp port(port, _scheme), do: port

  defp listener(endpoint, scheme, options, code_reloader?) do
    plug = if code_reloader?, do: {Phoenix.Endpoint.SyncCodeReloadPlug, {endpoint, []}}, else: {endpoint, []}
    ref = ref(endpoint, scheme)
    spec = Outrider.Plug.child_spec(scheme: scheme, plug: plug, ref: ref, options: options)
    {ref, %{spec | start: {__MODULE__, :start_link, [endpoint, scheme, spec.start]}}}
  end

  @doc false
  def start_link(endpoint, scheme, {module, function, [ref | _] = arguments}) do
    result = apply(module, function, arguments)
    server = "#{inspect(endpoint)} with outrider #{Application.spec(:outrider, :vsn)}"

    case result do
      {:ok, _} ->
        Logger.info("Running #{server} at #{address(:outrider.get_addr(ref))} (#{scheme})")

      {:error, {:shutdown, {_, _, {:listen_error, _, reason}}}} ->
        Logger.error("Running #{server} (#{scheme}) failed: #{reason(reason)}")

      {:error, _} ->
        :ok
    end

    result
  end

  # Of a socket, or of what TLS takes, such as a certificate that is not there.
  defp reason(posix) when is_atom(posix) do
    case :inet.format_error(posix) do
      ~c"unknown POSIX error" ++ _ -> inspect(posix)
      text -> to_string(text)
    end
  end

  defp reason(other), do: inspect(other)

  defp address({:local, path}), do: "unix:#{path}"
  defp address({ip, port}) when tuple_size(ip) == 8, do: "[#{:inet.ntoa(ip)}]:#{port}"
  defp address({ip, port}), do: "#{:inet.ntoa(ip)}:#{port}"

  @doc false
  def server_info(endpoint, scheme) do
    {:ok, :outrider.get_addr(ref(endpoint, scheme))}
  rescue
    ArgumentError -> {:error, "#{inspect(endpoint)} does not listen for #{scheme}"}
  end

  defp ref(endpoint, scheme), do: Module.concat(endpoint, scheme |> Atom.to_string() |> String.upcase())
end
