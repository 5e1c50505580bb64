defmodule Outrider.PhoenixAdapterTest do
  use ExUnit.Case
  import ExUnit.CaptureLog

  @config [
    adapter: Outrider.PhoenixAdapter,
    server: true,
    http: [ip: {127, 0, 0, 1}, port: 0],
    pubsub_server: Web.PubSub,
    secret_key_base: String.duplicate("secret", 11),
    live_view: [signing_salt: "salt of eight bytes or more"],
    check_origin: false
  ]

  setup do
    start_supervised!({Phoenix.PubSub, name: Web.PubSub})
    :ok
  end

  defp start(changes \\ []) do
    Application.put_env(:outrider_plug, Web.Endpoint, Keyword.merge(@config, changes))
    log = capture_log(fn -> start_supervised!(Web.Endpoint) end)
    {:ok, {_, port}} = Web.Endpoint.server_info(:http)
    {port, log}
  end

  test "an endpoint answers" do
    {port, _} = start()
    assert Client.get(port, "/page") == {200, "a page"}
  end

  test "the banner says Outrider, and where" do
    {port, log} = start()
    assert log =~ ~r"Running Web.Endpoint with outrider [0-9.]+ at 127.0.0.1:#{port} \(http\)"
  end

  test "a port that is taken is said" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    Application.put_env(:outrider_plug, Web.Endpoint, Keyword.merge(@config, http: [ip: {127, 0, 0, 1}, port: port]))
    log = capture_log(fn -> assert {:error, _} = start_supervised(Web.Endpoint) end)
    assert log =~ "Running Web.Endpoint with outrider"
    assert log =~ "(http) failed: address already in use"
  end

  test "the port may be a string, as from the environment" do
    {port, _} = start(http: [port: "0"])
    assert is_integer(port)
  end

  test "without a port it says so" do
    assert_raise ArgumentError, ~r/port: nil/, fn ->
      Outrider.PhoenixAdapter.child_specs(Web.Endpoint, otp_app: :outrider_plug, http: [port: nil])
    end
  end

  test "server_info tells of a scheme that is not served" do
    start()
    assert {:error, _} = Web.Endpoint.server_info(:https)
  end

  test "a channel is joined, answers and broadcasts" do
    {port, _} = start()
    client = Client.open(port, "/socket/websocket?vsn=2.0.0")
    push(client, ["1", "1", "room:one", "phx_join", %{}])
    assert ["1", "1", "room:one", "phx_reply", %{"status" => "ok"}] = receive_json(client)
    push(client, ["1", "2", "room:one", "say", %{"text" => "hello"}])

    assert [[nil, nil, "room:one", "said", %{"text" => "hello"}], ["1", "2", "room:one", "phx_reply", _]] =
             answers(client, 2)
  end

  test "a LiveView mounts and changes" do
    {port, _} = start()
    {200, page} = Client.get(port, "/live")
    assert page =~ ~r/<button phx-click="more">0/
    [_, session] = Regex.run(~r/data-phx-session="([^"]+)"/, page)
    [_, static] = Regex.run(~r/data-phx-static="([^"]+)"/, page)
    [_, topic] = Regex.run(~r/id="(phx-[^"]+)"/, page)

    client = Client.open(port, "/phx/websocket?vsn=2.0.0")
    join = %{"url" => "http://127.0.0.1:#{port}/live", "params" => %{}, "session" => session, "static" => static}
    push(client, ["1", "1", "lv:" <> topic, "phx_join", join])

    assert [_, _, _, "phx_reply", %{"status" => "ok", "response" => %{"rendered" => %{"0" => "0"}}}] =
             receive_json(client)

    push(client, ["1", "2", "lv:" <> topic, "event", %{"type" => "click", "event" => "more", "value" => %{}}])
    assert [_, _, _, "phx_reply", %{"status" => "ok", "response" => %{"diff" => %{"0" => "1"}}}] = receive_json(client)
  end

  test "at the end Phoenix drains its sockets, and requests are answered" do
    Process.register(self(), Web.Test)
    {port, _} = start(drainer: [shutdown: 10_000])
    client = Client.open(port, "/socket/websocket?vsn=2.0.0")
    push(client, ["1", "1", "room:one", "phx_join", %{}])
    assert [_, _, _, "phx_reply", _] = receive_json(client)
    request = Task.async(fn -> Client.get(port, "/slow") end)
    assert_receive {:request, process}, 10_000

    answer =
      Task.async(fn ->
        closed = Client.frame(client)
        Client.until(fn -> :outrider.get_status(Web.Endpoint.HTTP) == :suspended end)
        send(process, :answer)
        closed
      end)

    stop_supervised!(Web.Endpoint)
    # Phoenix closes it, not yet the listener.
    assert Task.await(answer) == {:close, 1012}
    assert Task.await(request) == {200, "done"}
  end

  test "drainer: false starts none" do
    specs = Outrider.PhoenixAdapter.child_specs(Web.Endpoint, otp_app: :outrider_plug, http: [port: 0], drainer: false)
    assert [%{id: {:ranch_embedded_sup, Web.Endpoint.HTTP}}] = specs
    assert [] = Outrider.PhoenixAdapter.child_specs(Web.Endpoint, otp_app: :outrider_plug, http: false)
  end

  defp push(client, message), do: Client.send_frame(client, {:text, Jason.encode!(message)})

  defp receive_json(client) do
    {:text, text} = Client.frame(client)
    Jason.decode!(text)
  end

  # A broadcast and a reply come from two processes.
  defp answers(client, count) do
    Enum.sort_by(for(_ <- 1..count, do: receive_json(client)), &Enum.at(&1, 3), :desc)
  end
end
