defmodule Outrider.Plug do
  @moduledoc """
  Serves a plug on Outrider, in a supervisor of yours:

      children = [
        {Outrider.Plug, scheme: :http, plug: MyApp, options: [port: 4040]},
        {Outrider.Drainer, refs: [MyApp.HTTP]}
      ]

  Takes what `Plug.Cowboy` takes, with its names, defaults and references. The requests run through `Plug.Cowboy.Handler`, so
  everything that knows `Plug.Cowboy`, as `WebSockAdapter` does, knows where it is. Transport and protocol options of
  Outrider's own go into `:transport_options` and `:protocol_options`.

  The functions of Ranch that take the reference are those of `:outrider` here: `:outrider.get_port(MyApp.HTTP)`.
  """

  @doc """
  The child specification for a plug.

    * `:scheme` - `:http`, or `:https` with `:certfile`, `:keyfile` and the further options of TLS
    * `:plug` - a module, or `{module, options}`
    * `:options` - those of `Plug.Cowboy`; they may also stand beside `:scheme`
  """
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    {scheme, options} = Keyword.pop!(options, :scheme)
    {plug, options} = Keyword.pop!(options, :plug)
    {nested, options} = Keyword.pop(options, :options, [])
    {plug, plug_options} = with plug when not is_tuple(plug) <- plug, do: {plug, []}
    transport = transport(scheme)

    [ref, transport_options, protocol_options] = Plug.Cowboy.args(scheme, plug, plug_options, options ++ nested)

    :outrider.child_spec(ref, transport, transport_options, protocol_options)
  end

  defp transport(:http), do: :ranch_tcp

  defp transport(:https) do
    {:ok, _} = Application.ensure_all_started(:ssl)
    :ranch_ssl
  end

  defp transport(other) do
    raise ArgumentError, ":scheme is :http or :https, not #{inspect(other)}"
  end
end
