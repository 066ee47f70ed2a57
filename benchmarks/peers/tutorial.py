"""The tutorial's script as written: its nets, its model_train and its model_test, one after the other.

Changed are only the data's folder, the number of epochs and of images, the file of the weights, a clock
around each epoch, and the JSON at the end. Dropout that stays on in validation and test, gradients in
validation, a shuffled validation and a test of one image at a time are the tutorial's own.
"""

# The code is another's, and is to stay as it was written.
# ruff: noqa

import copy
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data as Data
from common import arguments, report
from torchvision import transforms
from torchvision.datasets import FashionMNIST

asked = arguments()
size = {"lenet": 28, "alexnet": 227}[asked.model]
epoch_seconds = []


# model, as written in the tutorial


class LeNet(nn.Module):
    def __init__(self):
        super(LeNet, self).__init__()
        self.c1 = nn.Conv2d(in_channels=1, out_channels=6, kernel_size=5, padding=2)
        self.sig = nn.Sigmoid()
        self.s2 = nn.AvgPool2d(kernel_size=2, stride=2)
        self.c3 = nn.Conv2d(in_channels=6, out_channels=16, kernel_size=5)
        self.s4 = nn.AvgPool2d(kernel_size=2, stride=2)
        self.flatten = nn.Flatten()
        self.f5 = nn.Linear(400, 120)
        self.f6 = nn.Linear(120, 84)
        self.f7 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.sig(self.c1(x))
        x = self.s2(x)
        x = self.sig(self.c3(x))
        x = self.s4(x)
        x = self.flatten(x)
        x = self.f5(x)
        x = self.f6(x)
        x = self.f7(x)
        return x


class AlexNet(nn.Module):
    def __init__(self):
        super(AlexNet, self).__init__()
        self.ReLu = nn.ReLU()
        self.c1 = nn.Conv2d(in_channels=1, out_channels=96, kernel_size=11, stride=4)
        self.s2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.c3 = nn.Conv2d(in_channels=96, out_channels=256, kernel_size=5, padding=2)
        self.s4 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.c5 = nn.Conv2d(in_channels=256, out_channels=384, kernel_size=3, padding=1)
        self.c6 = nn.Conv2d(in_channels=384, out_channels=384, kernel_size=3, padding=1)
        self.c7 = nn.Conv2d(in_channels=384, out_channels=256, kernel_size=3, padding=1)
        self.s8 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.flatten = nn.Flatten()
        self.f1 = nn.Linear(6 * 6 * 256, 4096)
        self.f2 = nn.Linear(4096, 4096)
        self.f3 = nn.Linear(4096, 10)

    def forward(self, x):
        x = self.ReLu(self.c1(x))
        x = self.s2(x)
        x = self.ReLu(self.c3(x))
        x = self.s4(x)
        x = self.ReLu(self.c5(x))
        x = self.ReLu(self.c6(x))
        x = self.ReLu(self.c7(x))
        x = self.s8(x)
        x = self.flatten(x)
        x = self.ReLu(self.f1(x))
        x = F.dropout(x, 0.5)  # as written in the tutorial: on in validation and test too
        x = self.ReLu(self.f2(x))
        x = F.dropout(x, 0.5)
        x = self.f3(x)
        return x


# model_train, as written in the tutorial


def train_val_data_process():
    train_data = FashionMNIST(
        root=asked.data,
        train=True,
        transform=transforms.Compose([transforms.Resize(size=size), transforms.ToTensor()]),
        download=True,
    )

    train_data, val_data = Data.random_split(
        train_data, [round(0.8 * len(train_data)), round(0.2 * len(train_data))]
    )
    train_data = Data.Subset(train_data, range(asked.limit_train))  # not in the tutorial
    val_data = Data.Subset(val_data, range(asked.limit_val))
    train_dataloader = Data.DataLoader(dataset=train_data, batch_size=32, shuffle=True, num_workers=0)

    val_dataloader = Data.DataLoader(dataset=val_data, batch_size=32, shuffle=True, num_workers=0)

    return train_dataloader, val_dataloader


def train_model_process(model, train_dataloader, val_dataloader, num_epochs):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    model = model.to(device)
    best_model_wts = copy.deepcopy(model.state_dict())

    best_acc = 0.0
    train_loss_all = []
    val_loss_all = []
    train_acc_all = []
    val_acc_all = []
    since = time.time()

    for epoch in range(num_epochs):
        epoch_since = time.perf_counter()  # not in the tutorial
        print("Epoch {}/{}".format(epoch, num_epochs - 1))
        print("-" * 10)

        train_loss = 0.0
        train_corrects = 0
        val_loss = 0.0
        val_corrects = 0
        train_num = 0
        val_num = 0

        for step, (b_x, b_y) in enumerate(train_dataloader):
            b_x = b_x.to(device)
            b_y = b_y.to(device)
            model.train()
            output = model(b_x)
            pre_lab = torch.argmax(output, dim=1)
            loss = criterion(output, b_y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            train_loss += loss.item() * b_x.size(0)
            train_corrects += torch.sum(pre_lab == b_y.data)
            train_num += b_x.size(0)

        for step, (b_x, b_y) in enumerate(val_dataloader):
            b_x = b_x.to(device)
            b_y = b_y.to(device)
            model.eval()
            output = model(b_x)  # as written in the tutorial: with gradients on
            pre_lab = torch.argmax(output, dim=1)
            loss = criterion(output, b_y)
            val_loss += loss.item() * b_x.size(0)
            val_corrects += torch.sum(pre_lab == b_y.data)
            val_num += b_x.size(0)

        train_loss_all.append(train_loss / train_num)
        train_acc_all.append(train_corrects.double().item() / train_num)
        val_loss_all.append(val_loss / val_num)
        val_acc_all.append(val_corrects.double().item() / val_num)
        epoch_seconds.append(time.perf_counter() - epoch_since)  # not in the tutorial

        print("{} train loss:{:.4f} train acc: {:.4f}".format(epoch, train_loss_all[-1], train_acc_all[-1]))
        print("{} val loss:{:.4f} val acc: {:.4f}".format(epoch, val_loss_all[-1], val_acc_all[-1]))

        if val_acc_all[-1] > best_acc:
            best_acc = val_acc_all[-1]
            best_model_wts = copy.deepcopy(model.state_dict())

        time_use = time.time() - since
        print("训练和验证耗费的时间{:.0f}m{:.0f}s".format(time_use // 60, time_use % 60))

    torch.save(best_model_wts, "best_model.pth")

    train_process = pd.DataFrame(
        data={
            "epoch": range(num_epochs),
            "train_loss_all": train_loss_all,
            "val_loss_all": val_loss_all,
            "train_acc_all": train_acc_all,
            "val_acc_all": val_acc_all,
        }
    )

    return train_process


def matplot_acc_loss(train_process):
    plt.figure(figsize=(12, 4))
    plt.subplot(1, 2, 1)
    plt.plot(train_process["epoch"], train_process.train_loss_all, "ro-", label="Train loss")
    plt.plot(train_process["epoch"], train_process.val_loss_all, "bs-", label="Val loss")
    plt.legend()
    plt.xlabel("epoch")
    plt.ylabel("Loss")
    plt.subplot(1, 2, 2)
    plt.plot(train_process["epoch"], train_process.train_acc_all, "ro-", label="Train acc")
    plt.plot(train_process["epoch"], train_process.val_acc_all, "bs-", label="Val acc")
    plt.xlabel("epoch")
    plt.ylabel("acc")
    plt.legend()
    plt.show()


# model_test, as written in the tutorial


def test_data_process():
    test_data = FashionMNIST(
        root=asked.data,
        train=False,
        transform=transforms.Compose([transforms.Resize(size=size), transforms.ToTensor()]),
        download=True,
    )
    test_data = Data.Subset(test_data, range(asked.limit_test))  # not in the tutorial

    test_dataloader = Data.DataLoader(dataset=test_data, batch_size=1, shuffle=True, num_workers=0)

    return test_dataloader


def test_model_process(model, test_dataloader):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    test_corrects = 0.0
    test_num = 0

    with torch.no_grad():
        for test_data_x, test_data_y in test_dataloader:
            test_data_x = test_data_x.to(device)
            test_data_y = test_data_y.to(device)
            model.eval()
            output = model(test_data_x)
            pre_lab = torch.argmax(output, dim=1)
            test_corrects += torch.sum(pre_lab == test_data_y.data)
            test_num += test_data_x.size(0)

    test_acc = test_corrects.double().item() / test_num
    print("测试的准确率为:", test_acc)
    return test_acc  # not in the tutorial


if __name__ == "__main__":
    # The tutorial has two scripts, and one edits the names in them: LeNet here, AlexNet there.
    Net = {"lenet": LeNet, "alexnet": AlexNet}[asked.model]
    model = Net()
    train_data, val_data = train_val_data_process()
    train_process = train_model_process(model, train_data, val_data, num_epochs=asked.epochs)
    matplot_acc_loss(train_process)
    until_trained = time.time() - asked.started

    model = Net()
    model.load_state_dict(torch.load("best_model.pth"))
    test_dataloader = test_data_process()
    started = time.perf_counter()
    test_acc = test_model_process(model, test_dataloader)
    report(
        epoch_seconds=epoch_seconds,
        until_trained=until_trained,
        val_acc=train_process.val_acc_all.iloc[-1],
        test_acc=test_acc,
        test_rate=asked.limit_test / (time.perf_counter() - started),
    )
