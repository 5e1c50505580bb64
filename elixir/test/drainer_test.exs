defmodule Outrider.DrainerTest do
  use ExUnit.Case

  # A request that is answered when it is told to be, and a WebSocket.
  defmodule Handler do
    def init(req, test) do
      case :cowboy_req.path(req) do
        "/ws" ->
          {:cowboy_websocket, req, test}

        "/slow" ->
          send(test, {:request, self()})
          receive do: (:answer -> {:ok, :cowboy_req.reply(200, %{}, "done", req), test})
      end
    end

    def websocket_handle(_frame, state), do: {[], state}
    def websocket_info(_message, state), do: {[], state}
  end

  setup %{test: name} do
    dispatch = :cowboy_router.compile([{:_, [{:_, Handler, self()}]}])
    transport = %{socket_opts: [port: 0], shutdown: 10}
    %{ref: name, listener: :outrider.child_spec(name, :ranch_tcp, transport, %{env: %{dispatch: dispatch}})}
  end

  defp start(%{listener: listener, ref: ref}, drainer) do
    drainer = Keyword.put_new(drainer, :refs, [ref])
    {:ok, supervisor} = Supervisor.start_link([listener, {Outrider.Drainer, drainer}], strategy: :one_for_one)
    {supervisor, :outrider.get_port(ref)}
  end

  test "a request is answered before the listener stops", context do
    {supervisor, port} = start(context, [])
    request = Task.async(fn -> Client.get(port, "/slow") end)
    assert_receive {:request, process}, 10_000
    stop = Task.async(fn -> Supervisor.stop(supervisor) end)
    Client.until(fn -> :gen_tcp.connect({127, 0, 0, 1}, port, []) == {:error, :econnrefused} end)
    send(process, :answer)
    assert Task.await(request) == {200, "done"}
    assert Task.await(stop) == :ok
  end

  test "a WebSocket is closed with the code", context do
    {supervisor, port} = start(context, refs: :all, code: 1012, over: 0)
    client = Client.open(port, "/ws")
    stop = Task.async(fn -> Supervisor.stop(supervisor) end)
    assert Client.frame(client) == {:close, 1012}
    Client.send_frame(client, {:close, 1000, ""})
    assert Task.await(stop) == :ok
  end

  test "who does not go is left to the listener's stop after the time", context do
    {supervisor, port} = start(context, shutdown: 600)
    {:ok, client} = :gen_tcp.connect({127, 0, 0, 1}, port, [])
    :ok = :gen_tcp.send(client, "GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert_receive {:request, process}, 10_000
    monitor = Process.monitor(process)
    assert Supervisor.stop(supervisor) == :ok
    assert_receive {:DOWN, ^monitor, :process, _, _}
  end

  test "a listener that does not run has nobody to wait for" do
    {:ok, supervisor} = Supervisor.start_link([{Outrider.Drainer, refs: [:nobody]}], strategy: :one_for_one)
    assert Supervisor.stop(supervisor) == :ok
  end

  test "options that cannot be are refused at once" do
    for {option, value} <- [over: -1, rate: 0, code: 1000, timeout: :soon, over: 10_000] do
      assert_raise ArgumentError, ~r/:#{option} cannot be/, fn ->
        Outrider.Drainer.start_link([{:refs, :all}, {:timeout, 5000}] |> Keyword.merge([{option, value}]))
      end
    end
  end

  test "the child's specification takes the options of Plug.Cowboy.Drainer" do
    spec = Outrider.Drainer.child_spec(refs: :all, id: :mine, shutdown: 7000, check_interval: 1)
    assert %{id: :mine, shutdown: 7000, start: {Outrider.Drainer, :start_link, [options]}} = spec
    assert options[:timeout] == 6500
    assert %{id: Outrider.Drainer, shutdown: 5000} = Outrider.Drainer.child_spec(refs: :all)
    assert_raise ArgumentError, ~r/:refs is :all or a list/, fn -> Outrider.Drainer.start_link(refs: :one) end
  end
end
