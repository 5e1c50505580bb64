defmodule Outrider.Drainer do
  @moduledoc """
  Drains listeners when it is stopped, as `Plug.Cowboy.Drainer` does for Cowboy's: put it behind them in the supervisor, which
  stops its children in reverse order.

      children = [
        {Outrider.Plug, scheme: :http, plug: MyApp},
        {Outrider.Drainer, refs: [MyApp.HTTP], shutdown: 30_000}
      ]

  Nobody new is let in, requests are answered, and WebSockets, for which Cowboy's drainer does not wait, are closed
  one after the other: see `:outrider.drain/2`.

  ## Options

    * `:refs` - the listeners, or `:all`
    * `:id` - the child's id, this module by default
    * `:shutdown` - how long it may take, in ms: 5000 by default. Those who are then left are ended by the listener's stop
    * `:timeout` - when to leave it at that, in ms; by default shortly before `:shutdown` is over
    * `:over`, `:rate`, `:code` - how WebSockets are closed: see `:outrider.drain/2`
    * `:check_interval` - has no effect; `Plug.Cowboy.Drainer` has it
  """
  use GenServer

  @shutdown 5000
  # What remains of :shutdown for the answer.
  @margin 500

  @doc false
  @spec child_spec(keyword()) :: Supervisor.child_spec()
  def child_spec(options) do
    {spec, options} = Keyword.split(options, [:id, :shutdown])
    spec = Keyword.put_new(spec, :shutdown, @shutdown)
    options = Keyword.put_new(options, :timeout, timeout(spec[:shutdown]))
    start = {__MODULE__, :start_link, [options]}
    Supervisor.child_spec(%{id: __MODULE__, start: start, type: :worker}, spec)
  end

  defp timeout(shutdown) when is_integer(shutdown), do: max(shutdown - @margin, 0)
  defp timeout(:brutal_kill), do: 0
  defp timeout(:infinity), do: 30_000

  @doc false
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(options) do
    refs = Keyword.fetch!(options, :refs)

    unless refs == :all or is_list(refs) do
      raise ArgumentError, ":refs is :all or a list of listeners, not #{inspect(refs)}"
    end

    drain = Map.new(Keyword.take(options, [:timeout, :over, :rate, :code]))

    # Who stops it has no use for an error.
    with {:error, {:bad_option, key}} <- :outrider_drain.check(drain) do
      raise ArgumentError,
            "#{inspect(key)} cannot be #{inspect(drain[key])} with #{inspect(drain)}: see :outrider.drain/2"
    end

    GenServer.start_link(__MODULE__, {refs, drain})
  end

  @impl true
  def init(state) do
    Process.flag(:trap_exit, true)
    {:ok, state}
  end

  @impl true
  def terminate(_reason, {:all, drain}), do: terminate(:all, {Map.keys(:outrider.info()), drain})

  def terminate(_reason, {refs, drain}) do
    # All at once: they share the time.
    refs
    |> Enum.map(fn ref -> Task.async(fn -> drain(ref, drain) end) end)
    |> Task.await_many(:infinity)
  end

  # A listener that does not run has nobody to send away.
  defp drain(ref, drain) do
    :outrider.drain(ref, drain)
  rescue
    ArgumentError -> :ok
  end
end
